"""How people name a restore point, and which one they mean.

The one form that is printed everywhere and always accepted: `VM-UUID/STAMP@REMOTE`. Shorter ones
are accepted where they are not ambiguous: a VM by its name, no stamp or `latest` for the newest,
no remote for any that has it. Pure. Which point is meant then is found by `plan/points.py`.

Points that lie elsewhere have names of the same form, `…@POOL:SR` on an SR and `…@pool/POOL` on the
pool itself. They are VMs and snapshots already, and are cloned where they are.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from reconciler.cli.exits import Failure
from reconciler.ids import PoolName, RemoteName, Stamp
from reconciler.observed.remote import RemoteView
from reconciler.observed.unknown import Unknown
from reconciler.plan.claims import pool_address
from reconciler.plan.points import Located, NoPoint, all_points, listed, of_vm, pick

_LATEST = "latest"
_WORDS = re.compile(
    r"(?P<vm>.+?)(?:[/@](?P<stamp>\d{8}T\d{6}Z|latest))?(?:@(?P<remote>[^@]+))?", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A name as it was read. stamp: None for the newest. remote: None for any."""

    vm: str
    stamp: Stamp | None
    remote: RemoteName | None


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


def choose(
    text: str,
    remotes: Mapping[RemoteName, RemoteView | Unknown],
    *,
    remote: RemoteName | None = None,
    as_of: datetime | None = None,
) -> Located:
    """Find the one point that is meant. as_of: no newer than this.

    Raises Failure: no such VM or point, several VMs of that name, or the point cannot be restored.
    """
    points = [found for found in all_points(remotes) if remote in (None, found.remote)]
    try:
        for wanted in readings(text, remotes):
            candidates = [
                found for found in of_vm(points, wanted.vm) if wanted.remote in (None, found.remote)
            ]
            if candidates:
                return pick(text, candidates, stamp=wanted.stamp, as_of=as_of)
    except NoPoint as error:
        raise Failure(str(error), subject=error.subject, hint=error.hint) from error
    raise Failure(
        "no restore point of such a VM is on " + _places(remotes, remote),
        subject=text,
        hint="reconciler get points DIR… lists all there are" + _unseen(remotes),
    )


def _places(remotes: Mapping[RemoteName, RemoteView | Unknown], remote: RemoteName | None) -> str:
    return f"remote {remote}" if remote is not None else f"any of {len(remotes)} remotes"


def _unseen(remotes: Mapping[RemoteName, RemoteView | Unknown]) -> str:
    """Add what could not be looked at: the point may be there."""
    unseen = sorted(name for name, view in remotes.items() if isinstance(view, Unknown))
    return f"; not seen: remote {listed(unseen)}" if unseen else ""
