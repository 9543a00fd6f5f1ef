"""A pool's VMs by what may choose them: a thousand jobs do not each look at ten thousand VMs.

What is left out surely is none of a job's; what is handed out is for `Selector.matches` to judge.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from reconciler.desired.state import Job
from reconciler.ids import JobId, VmUuid
from reconciler.observed.pool import PoolView, Vm


class Roster:
    """The VMs of one pool, as seen at one moment."""

    def __init__(self, view: PoolView) -> None:
        self._vms = view.vms
        self._all: Sequence[Vm] | None = None
        self._by_tag: defaultdict[str, list[VmUuid]] = defaultdict(list)
        self._by_job: defaultdict[JobId, list[VmUuid]] = defaultdict(list)
        for vm in view.vms.values():
            for tag in vm.tags:
                self._by_tag[tag].append(vm.uuid)
            for snapshot in vm.snapshots:
                if snapshot.marks is not None:
                    self._by_job[snapshot.marks.job].append(vm.uuid)

    def candidates(self, job: Job) -> Sequence[Vm]:
        """Return the VMs that a job may choose, or that carry a snapshot of it, by uuid."""
        selector = job.selector
        chosen: set[VmUuid] = set(self._by_job.get(job.id, ()))
        if selector.uuids:
            chosen.update(VmUuid(uuid) for uuid in selector.uuids if uuid in self._vms)
        elif selector.tags:
            for tag in selector.tags:
                chosen.update(self._by_tag.get(tag, ()))
        else:
            return self._everything()
        return self._sorted(chosen)

    def _everything(self) -> Sequence[Vm]:
        if self._all is None:
            self._all = self._sorted(self._vms)
        return self._all

    def _sorted(self, uuids: Iterable[VmUuid]) -> Sequence[Vm]:
        return [self._vms[uuid] for uuid in sorted(uuids)]
