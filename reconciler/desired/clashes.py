"""What is right by itself and wrong together: paths in one another, ids used twice, lost names."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeAlias

from reconciler.desired.document import Identity, Path
from reconciler.desired.state import Job, Pool, Remote

Value: TypeAlias = Pool | Remote | Job


@dataclass(frozen=True, slots=True)
class Clash:
    """One side of a clash: which object, the field that clashes, and with what."""

    identity: Identity
    path: Path
    message: str


def nested_remotes(values: Mapping[Identity, Value]) -> list[Clash]:
    """Find remotes that share a directory or lie in one another."""
    remotes = sorted(
        (f"{value.path}/", identity)
        for identity, value in values.items()
        if isinstance(value, Remote) and value.path is not None
    )
    clashes: list[Clash] = []
    outer: tuple[str, Identity] | None = None
    for path, identity in remotes:  # sorted: whatever lies in a directory follows it
        if outer is None or not path.startswith(outer[0]):
            outer = path, identity
            continue
        same = path == outer[0]
        field = ("spec", "local", "path")
        inside, holds = ("is", "is") if same else ("lies in", "holds")
        clashes.append(Clash(identity, field, f"the path {inside} that of {outer[1]}"))
        clashes.append(Clash(outer[1], field, f"the path {holds} that of {identity}"))
    return clashes


def shared_ids(values: Mapping[Identity, Value]) -> list[Clash]:
    """Find jobs with one id; if there are none, schedules of any jobs with one id.

    In this order, because schedules take their ids from their job's unless they are pinned.
    """
    jobs: _Owners = defaultdict(list)
    schedules: _Owners = defaultdict(list)
    for identity, value in sorted(values.items(), key=lambda pair: pair[0]):
        if not isinstance(value, Job):
            continue
        jobs[value.id].append((identity, str(identity), ("spec", "jobId")))
        for index, schedule in enumerate(value.schedules):
            path: Path = ("spec", "schedules", index, "scheduleId")
            name = f"schedule {schedule.name} of {identity}"
            schedules[schedule.id].append((identity, name, path))
    return _shared(jobs) or _shared(schedules)


_Owners: TypeAlias = defaultdict[str, list[tuple[Identity, str, Path]]]


def _shared(owners: _Owners) -> list[Clash]:
    return [
        Clash(identity, path, f"{next(other for _, other, _ in one if other != name)} has this id")
        for one in owners.values()
        if len(one) > 1
        for identity, name, path in one
    ]


def missing_hint(wanted: Identity, declared: Collection[Identity], unread: str | None) -> str:
    """Say what somebody may have meant who refers to an object that is not there.

    unread: a file that may declare it, for all we know.
    """
    known = [one for one in declared if one.kind == wanted.kind]
    here = sorted(one.name for one in known if one.namespace == wanted.namespace)
    if near := get_close_matches(wanted.name[:64], here, n=1, cutoff=0.6):
        return f'did you mean "{near[0]}"?'
    if elsewhere := sorted(one.namespace for one in known if one.name == wanted.name):
        return (
            f"there is one in namespace {elsewhere[0]}; references stay within their own"
            f" ({wanted.namespace})"
        )
    if unread is not None:
        return f"it may stand in {unread}, part of which cannot be read"
    if here:
        return f"declared: {', '.join(here[:8])}"
    return f"declare a {wanted.kind} of this name"
