"""What is right by itself and wrong together: places in one another, ids used twice, lost names."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeAlias, assert_never

from reconciler.desired.document import Identity, Path
from reconciler.desired.run import RunOrder
from reconciler.desired.state import (
    Job,
    LocalPlace,
    NfsPlace,
    Pool,
    Remote,
    Restore,
    S3Place,
    SmbPlace,
)

Value: TypeAlias = Pool | Remote | Job | Restore | RunOrder


@dataclass(frozen=True, slots=True)
class Clash:
    """One side of a clash: which object, the field that clashes, and with what."""

    identity: Identity
    path: Path
    message: str


@dataclass(frozen=True, slots=True, order=True)
class _Spot:
    """Where a remote lies, in one way of saying it. path: ends in a slash, within the space."""

    space: tuple[str, ...]
    path: str
    identity: Identity
    field: Path
    noun: str


def nested_remotes(values: Mapping[Identity, Value]) -> list[Clash]:
    """Find remotes that share a place or lie in one another, or of which one has to be the other.

    Two ways to one place that cannot be told from names (a share and its directory on the server)
    are found by the identity that lies there.
    """
    spots = sorted(
        spot
        for identity, value in values.items()
        if isinstance(value, Remote)
        for spot in _spots(identity, value)
    )
    clashes: list[Clash] = []
    outer: _Spot | None = None
    for spot in spots:  # sorted: whatever lies in a place follows it
        inner = outer is not None and spot.space == outer.space
        if outer is None or not inner or not spot.path.startswith(outer.path):
            outer = spot
            continue
        same = spot.path == outer.path
        inside, holds = ("is", "is") if same else ("lies in", "holds")
        said = f"the {spot.noun} {inside} that of {outer.identity}"
        clashes.append(Clash(spot.identity, spot.field, said))
        said = f"the {outer.noun} {holds} that of {spot.identity}"
        clashes.append(Clash(outer.identity, outer.field, said))
    return clashes


def _spots(identity: Identity, remote: Remote) -> Iterator[_Spot]:
    def spot(space: tuple[str, ...], path: str, kind: str, field: str) -> _Spot:
        inside = f"/{path.strip('/')}/".replace("//", "/")
        return _Spot(space, inside, identity, ("spec", kind, field), field)

    match remote.place:
        case LocalPlace(path=path):
            yield spot(("path",), path, "local", "path")
        case NfsPlace(server=server, export=export, path=mounted):
            yield spot(("nfs", server.casefold()), export, "nfs", "export")
            if mounted is not None:
                yield spot(("path",), mounted, "nfs", "path")
        case SmbPlace(server=server, share=share, directory=directory, path=mounted):
            # Windows tells upper from lower case in none of them.
            space = ("smb", server.casefold(), share.casefold())
            yield spot(space, directory.casefold(), "smb", "directory")
            if mounted is not None:
                yield spot(("path",), mounted, "smb", "path")
        case S3Place(endpoint=endpoint, bucket=bucket, prefix=prefix):
            yield spot(("s3", _endpoint_of(endpoint), bucket), prefix, "s3", "prefix")
        case place:
            assert_never(place)
    if remote.identity is not None:
        yield _Spot(
            ("identity",), f"{remote.identity}/", identity, ("spec", "identity"), "identity"
        )


def _endpoint_of(url: str) -> str:
    """Write an endpoint in one way: a port that goes without saying is left out."""
    scheme, _, host = url.casefold().partition("://")
    return host.removesuffix(":443" if scheme == "https" else ":80")


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
