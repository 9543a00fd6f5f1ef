"""Which restore point is meant: by its VM's uuid or name, its stamp or the newest, on which remote.

Never chooses what cannot be restored, and never something else instead: a newest point that is
broken is not replaced by an older one unasked.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from reconciler.ids import UUID, RemoteName, Stamp, VmUuid
from reconciler.observed.chain import BrokenChain, DiskFile, History, RestorePoint, chain_of
from reconciler.observed.remote import RemoteView
from reconciler.observed.unknown import Unknown
from reconciler.plan.reasons import Reason

_CANDIDATES_MAX = 10  # named in a message

Remotes = Mapping[RemoteName, RemoteView | Unknown]


class NoPoint(Exception):
    """There is no such point, or none that is meant alone. subject: what is spoken of."""

    def __init__(self, what: str, *, subject: str, hint: str, reason: Reason) -> None:
        super().__init__(what)
        self.subject = subject
        self.hint = hint
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Located:
    """A restore point and the remote that has it."""

    remote: RemoteName
    point: RestorePoint
    history: History

    @property
    def name(self) -> str:
        return point_name(self.point.vm, self.point.stamp, self.remote)

    def chains(self) -> tuple[tuple[DiskFile, ...], ...]:
        """The files each disk is read from, tip first; none for an archive. Raises BrokenChain."""
        if self.point.archive:
            return ()
        return tuple(self.chain_of_disk(number) for number in range(len(self.point.disks)))

    def chain_of_disk(self, number: int) -> tuple[DiskFile, ...]:
        """The files one disk is read from, tip first. Raises BrokenChain."""
        return chain_of(self.history.files, self.point.disks[number].path)

    def broken(self) -> str:
        """Why it cannot be restored; "" if it can."""
        if self.point.archive:
            return self.point.flaw
        try:
            self.chains()
        except BrokenChain as error:
            return str(error)
        return ""


def point_name(vm: VmUuid, stamp: Stamp, place: str) -> str:
    """Name a point in the one form. place: a remote, `POOL:SR`, or `pool/POOL`."""
    return f"{vm}/{stamp}@{place}"


def all_points(remotes: Remotes) -> list[Located]:
    """Every restore point that was seen: by remote, then VM, then time."""
    return [
        Located(name, point, history)
        for name, view in sorted(remotes.items())
        if isinstance(view, RemoteView)
        for _, history in sorted(view.histories.items())
        if isinstance(history, History)
        for point in history.points
    ]


def points_called(remotes: Remotes, vm: str) -> list[Located]:
    """Every point of VMs with this uuid, or that have, or once had, this name."""
    named = {VmUuid(vm.lower())}
    if not UUID.fullmatch(vm.lower()):
        named = {point.vm for point in _every_point(remotes) if point.vm_name == vm}
    return [
        Located(name, point, history)
        for name, view in sorted(remotes.items())
        if isinstance(view, RemoteView)
        for uuid in sorted(named & view.histories.keys())
        if isinstance(history := view.histories[uuid], History)
        for point in history.points
    ]


def _every_point(remotes: Remotes) -> Iterator[RestorePoint]:
    for view in remotes.values():
        for history in view.histories.values() if isinstance(view, RemoteView) else ():
            yield from history.points if isinstance(history, History) else ()


def of_vm(points: list[Located], vm: str) -> list[Located]:
    """All points of the VM meant. Raises NoPoint if several VMs have, or had, the name.

    A VM may be renamed: the name it has on its newest point goes before the names it once had.
    """
    newest: dict[VmUuid, RestorePoint] = {}
    for found in points:
        known = newest.get(found.point.vm)
        if known is None or found.point.stamp > known.stamp:
            newest[found.point.vm] = found.point
    uuids = (
        [uuid for uuid in newest if uuid == vm.lower()]
        or sorted(uuid for uuid, point in newest.items() if point.vm_name == vm)
        or sorted({found.point.vm for found in points if found.point.vm_name == vm})
    )
    if len(uuids) > 1:
        raise NoPoint(
            f"{len(uuids)} VMs have this name: {listed(uuids)}",
            subject=vm,
            hint="use the uuid of the VM",
            reason=Reason.POINT_UNKNOWN,
        )
    return [found for found in points if found.point.vm in uuids]


def pick(
    subject: str, candidates: list[Located], *, stamp: Stamp | None, as_of: datetime | None = None
) -> Located:
    """Choose among the points of one VM. stamp: None for the newest, not after `as_of`.

    Raises NoPoint: there is none, or it cannot be restored from any remote.
    """
    in_time = [found for found in candidates if as_of is None or found.point.taken_at <= as_of]
    matching = [found for found in in_time if stamp in (None, found.point.stamp)]
    if not matching:
        stamps = [found.point.stamp for found in candidates]
        raise NoPoint(
            "the VM has no such restore point",
            subject=subject,
            hint=f"it has {listed(sorted(set(stamps), reverse=True))}",
            reason=Reason.POINT_UNKNOWN,
        )
    newest = max(found.point.stamp for found in matching)
    copies = [found for found in matching if found.point.stamp == newest]
    whole = [found for found in copies if not found.broken()]
    if not whole:
        others = sorted({found.name for found in candidates if not found.broken()}, reverse=True)
        raise NoPoint(
            f"cannot be restored: {copies[0].broken()}",
            subject=copies[0].name,
            hint=f"these can: {listed(others)}" if others else "no other point of the VM can",
            reason=Reason.CHAIN_BROKEN,
        )
    return whole[0]


def listed(names: Iterable[str]) -> str:
    """Name some for a person, and count the rest."""
    every = list(names)
    more = len(every) - _CANDIDATES_MAX
    return ", ".join(every[:_CANDIDATES_MAX]) + (f" and {more} more" if more > 0 else "")
