"""How people name a restore point, and which one they mean.

The one form that is printed everywhere and always accepted: `VM-UUID/STAMP@REMOTE`. Shorter ones
are accepted where they are not ambiguous: a VM by its name, no stamp or `latest` for the newest,
no remote for any that has it. Pure; never chooses what cannot be restored.

Points that lie elsewhere have names of the same form, `…@POOL:SR` on an SR and `…@pool/POOL` on the
pool itself. They are VMs and snapshots already, and are cloned where they are.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from reconciler.cli.exits import Failure
from reconciler.ids import PoolName, RemoteName, Stamp, VmUuid
from reconciler.observed.chain import BrokenChain, DiskFile, History, RestorePoint, chain_of
from reconciler.observed.remote import RemoteView
from reconciler.observed.unknown import Unknown
from reconciler.plan.claims import pool_address

_LATEST = "latest"
_WORDS = re.compile(
    r"(?P<vm>.+?)(?:[/@](?P<stamp>\d{8}T\d{6}Z|latest))?(?:@(?P<remote>[^@]+))?", re.DOTALL
)
_CANDIDATES_MAX = 10  # named in a message


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


@dataclass(frozen=True, slots=True)
class Wanted:
    """A name as it was read. stamp: None for the newest. remote: None for any."""

    vm: str
    stamp: Stamp | None
    remote: RemoteName | None


def point_name(vm: VmUuid, stamp: Stamp, place: str) -> str:
    """Name a point in the one form. place: a remote, `POOL:SR`, or `pool/POOL`."""
    return f"{vm}/{stamp}@{place}"


def readings(text: str, remotes: Iterable[RemoteName]) -> Iterator[Wanted]:
    """Read a name in every way that makes sense, the most specific first.

    Names of VMs may contain `@` and `/`: only the name of a remote that is there ends one.
    """
    known = set(remotes)
    whole = _WORDS.fullmatch(text)
    if whole is not None and whole["remote"] in known:
        yield _wanted(whole["vm"], whole["stamp"], RemoteName(whole["remote"]))
    head, separator, tail = text.rpartition("@")
    other, slash, after = text.rpartition("/")
    for vm, divider, stamp in ((head, separator, tail), (other, slash, after)):
        if vm and divider and (stamp == _LATEST or re.fullmatch(r"\d{8}T\d{6}Z", stamp)):
            yield _wanted(vm, stamp, None)
    yield Wanted(text, None, None)


def _wanted(vm: str, stamp: str | None, remote: RemoteName | None) -> Wanted:
    return Wanted(vm, None if stamp in (None, _LATEST) else Stamp(str(stamp)), remote)


def require_on_remote(text: str, pools: Iterable[PoolName], remotes: Iterable[RemoteName]) -> None:
    """Raise Failure if a name is that of a point on an SR, or on a pool: nothing is to be read."""
    _, _, place = text.rpartition("@")
    if not place or place in set(remotes):
        return
    for pool in pools:
        if place.startswith(f"{pool}:"):
            what = f"lies on an SR of pool {pool}, where it is a VM already"
            hint = "clone it there: `describe point` tells its uuid; see docs/replication.md"
        elif place == pool_address(pool):
            what = f"is a snapshot on pool {pool}"
            hint = "clone it there, or revert the VM to it: `describe point` tells its uuid"
        else:
            continue
        raise Failure(f"{what}: points are restored from remotes", subject=text, hint=hint)


def all_points(remotes: Mapping[RemoteName, RemoteView | Unknown]) -> list[Located]:
    """Every restore point that was seen: by remote, then VM, then time."""
    return [
        Located(name, point, history)
        for name, view in sorted(remotes.items())
        if isinstance(view, RemoteView)
        for _, history in sorted(view.histories.items())
        if isinstance(history, History)
        for point in history.points
    ]


def choose(
    text: str,
    remotes: Mapping[RemoteName, RemoteView | Unknown],
    *,
    remote: RemoteName | None = None,
    as_of: datetime | None = None,
) -> Located:
    """Find the one point that is meant. as_of: no newer than this.

    Raises Failure: no such VM or point, several VMs of that name, or the point cannot be restored.
    A broken point is never replaced by an older one unasked.
    """
    points = [found for found in all_points(remotes) if remote in (None, found.remote)]
    for wanted in readings(text, remotes):
        candidates = _of_vm(points, wanted)
        if candidates:
            return _pick(text, wanted, candidates, as_of)
    raise Failure(
        "no restore point of such a VM is on " + _places(remotes, remote),
        subject=text,
        hint="reconciler get points DIR… lists all there are" + _unseen(remotes),
    )


def _of_vm(points: list[Located], wanted: Wanted) -> list[Located]:
    """All points of the VM meant. Raises Failure if several VMs have, or had, the name.

    A VM may be renamed: the name it has on its newest point goes before the names it once had.
    """
    newest: dict[VmUuid, RestorePoint] = {}
    for found in points:
        known = newest.get(found.point.vm)
        if known is None or found.point.stamp > known.stamp:
            newest[found.point.vm] = found.point
    uuids = (
        [uuid for uuid in newest if uuid == wanted.vm.lower()]
        or sorted(uuid for uuid, point in newest.items() if point.vm_name == wanted.vm)
        or sorted({found.point.vm for found in points if found.point.vm_name == wanted.vm})
    )
    if len(uuids) > 1:
        raise Failure(
            f"{len(uuids)} VMs have this name: {_listed(uuids)}",
            subject=wanted.vm,
            hint="use the uuid of the VM",
        )
    return [
        found
        for found in points
        if found.point.vm in uuids and wanted.remote in (None, found.remote)
    ]


def _pick(text: str, wanted: Wanted, candidates: list[Located], as_of: datetime | None) -> Located:
    in_time = [found for found in candidates if as_of is None or found.point.taken_at <= as_of]
    matching = [found for found in in_time if wanted.stamp in (None, found.point.stamp)]
    if not matching:
        stamps = [found.point.stamp for found in candidates]
        raise Failure(
            "the VM has no such restore point",
            subject=text,
            hint=f"it has {_listed(sorted(set(stamps), reverse=True))}",
        )
    newest = max(found.point.stamp for found in matching)
    copies = [found for found in matching if found.point.stamp == newest]
    whole = [found for found in copies if not found.broken()]
    if not whole:
        others = sorted({found.name for found in candidates if not found.broken()}, reverse=True)
        raise Failure(
            f"cannot be restored: {copies[0].broken()}",
            subject=copies[0].name,
            hint=f"these can: {_listed(others)}" if others else "no other point of the VM can",
        )
    return whole[0]


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = len(every) - _CANDIDATES_MAX
    return ", ".join(every[:_CANDIDATES_MAX]) + (f" and {more} more" if more > 0 else "")


def _places(remotes: Mapping[RemoteName, RemoteView | Unknown], remote: RemoteName | None) -> str:
    return f"remote {remote}" if remote is not None else f"any of {len(remotes)} remotes"


def _unseen(remotes: Mapping[RemoteName, RemoteView | Unknown]) -> str:
    """Add what could not be looked at: the point may be there."""
    unseen = sorted(name for name, view in remotes.items() if isinstance(view, Unknown))
    return f"; not seen: remote {_listed(unseen)}" if unseen else ""
