"""Generated worlds for the planner's laws: jobs, VMs, chains, gaps, unknowns, problems.

Small on purpose: few names, few instants, so that whatever can go together often does.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from worlds import observed_of, uuid

from reconciler.desired.retention import Retention
from reconciler.desired.schedule import Schedule
from reconciler.desired.selector import Selector
from reconciler.desired.state import (
    Desired,
    Job,
    JobSchedule,
    LocalPlace,
    Pool,
    PruneGuard,
    Remote,
    RunRequest,
    SecretRef,
)
from reconciler.ids import JobId, JobName, PoolName, RemoteName, ScheduleId
from reconciler.observed.state import Observed

MIDNIGHT = datetime(2026, 3, 27, tzinfo=UTC)  # the clocks of Paris go forward two nights later
VMS = ("web", "db", "mail")
DISKS = ("root", "data")
CRONS = ("0 2 * * *", "0 * * * *", "30 2 * * 0", "*/30 9-17 * * *", "0 0 1 * *")
SPANS = (timedelta(hours=5), timedelta(days=1), timedelta(days=3))

nows = st.integers(0, 4 * 24 * 60).map(lambda minutes: MIDNIGHT + timedelta(minutes=minutes))


def retentions(least: int = 0) -> st.SearchStrategy[Retention]:
    count = st.integers(least, 3)
    return st.builds(
        Retention,
        last=count,
        hourly=st.integers(0, 2),
        daily=st.integers(0, 2),
        weekly=st.integers(0, 1),
        within=st.one_of(st.none(), st.sampled_from(SPANS)),
        zone=st.sampled_from(("UTC", "Europe/Paris")),
    )


@st.composite
def jobs(draw: st.DrawFn, name: str) -> Job:
    schedules = draw(st.lists(st.sampled_from(("night", "hour")), unique=True, max_size=2))
    remotes = draw(st.lists(st.sampled_from(("nas", "off")), unique=True, min_size=1, max_size=2))
    pools = draw(st.lists(st.sampled_from(("east", "west")), unique=True, min_size=1, max_size=2))
    return Job(
        name=JobName(name),
        id=JobId(uuid("job", name)),
        pools=tuple(map(PoolName, pools)),
        remotes=tuple(map(RemoteName, remotes)),
        selector=draw(st.sampled_from((Selector(all=True), Selector(tags=frozenset({"prod"}))))),
        schedules=tuple(
            JobSchedule(
                name=schedule,
                id=ScheduleId(uuid("schedule", name, schedule)),
                schedule=Schedule.parse(
                    draw(st.sampled_from(CRONS)), draw(st.sampled_from(("UTC", "Europe/Paris")))
                ),
                retention=draw(retentions()),
                suspend=draw(_rarely),
                deadline=draw(st.sampled_from((timedelta(0), timedelta(hours=1)))),
            )
            for schedule in schedules
        ),
        full_every=draw(st.sampled_from((0, 0, 3))),
        run_on_create=draw(st.booleans()),
        suspend=draw(_rarely),
        guard=draw(
            st.sampled_from((PruneGuard(), PruneGuard(100, 1000), PruneGuard(10, 2, good_min=2)))
        ),
    )


_rarely = st.integers(0, 9).map(lambda number: number == 0)


@st.composite
def desireds(draw: st.DrawFn) -> Desired:
    names = draw(st.sampled_from((("nightly",), ("nightly", "weekly"))))
    chosen = {JobName(name): draw(jobs(name)) for name in names}
    asked = draw(st.one_of(st.none(), nows))
    protected = {job.id for job in chosen.values() if draw(_rarely)}
    return Desired(
        pools={
            PoolName(name): Pool(PoolName(name), ("https://x",), "root", SecretRef(env="X"))
            for name in ("east", "west")
        },
        remotes={
            RemoteName(name): Remote(
                RemoteName(name),
                LocalPlace(f"/srv/{name}"),
                read_only=draw(_rarely),
                suspend=draw(_rarely),
            )
            for name in ("nas", "off")
        },
        jobs=chosen,
        requests=() if asked is None else (RunRequest(JobName("nightly"), asked),),
        protected_jobs=frozenset(protected),
    )


# ── worlds ────────────────────────────────────────────────────────────────────────────────────────


@st.composite
def instants(draw: st.DrawFn, now: datetime, count: int) -> list[datetime]:
    """Instants before now (a clock may be a little off), some at slots, oldest first."""
    minutes = draw(st.lists(st.integers(-30, 5 * 24 * 60), unique=True, max_size=count))
    whole = draw(st.booleans())
    step = 60 if whole else 7
    return sorted(
        {
            now.replace(minute=0, second=5) - timedelta(minutes=each // step * step)
            for each in minutes
        }
    )


@st.composite
def _parts(draw: st.DrawFn, job: str, now: datetime) -> list[dict[str, Any]]:
    """Points or snapshots of one job: when, for which schedules, of which disks."""
    parts = []
    for at in draw(instants(now, 6)):
        part: dict[str, Any] = {
            "job": job,
            "at": at,
            "schedules": draw(
                st.lists(st.sampled_from(("night", "hour", "gone")), unique=True, max_size=2)
            ),
            "disks": draw(st.sampled_from((["root"], ["root", "data"]))),
        }
        parts.append(part)
    return parts


@st.composite
def trees(draw: st.DrawFn, now: datetime, desired: Desired) -> dict[str, Any]:
    names = [*map(str, desired.jobs), "deleted"]
    moments = {
        (vm, job): draw(_parts(job, now)) for vm in VMS for job in names if draw(st.booleans())
    }
    pools: dict[str, Any] = {"east": {"vms": {}}, "west": {"vms": {}}}
    for vm in VMS:
        home = draw(st.sampled_from(("east", "east", "west", None)))
        if home is not None:
            pools[home]["vms"][vm] = draw(_vms(vm, moments))
    for (vm, _), parts in moments.items():
        if parts and not any(vm in pool["vms"] for pool in pools.values()) and draw(_rarely):
            pools["east"].setdefault("strays", []).append({**parts[0], "vm": vm})
    for name in pools:
        if draw(_rarely):
            pools[name] = {"unknown": "no answer"}
    remotes: dict[str, Any] = {}
    for name in ("nas", "off"):
        remotes[name] = {"vms": {vm: draw(_histories(vm, moments)) for vm in VMS}}
        if draw(_rarely):
            remotes[name] = {"unknown": "no answer"}
    return {"now": now, "pools": pools, "remotes": remotes}


@st.composite
def _vms(draw: st.DrawFn, vm: str, moments: dict[Any, list[dict[str, Any]]]) -> dict[str, Any]:
    snapshots = []
    for (name, _), parts in moments.items():
        for part in parts:
            if name == vm and draw(st.booleans()):
                lost = draw(st.sampled_from(([], [], [], part["disks"][-1:])))
                snapshots.append(
                    {
                        **part,
                        "lost": lost,
                        "unmarked": draw(_rarely),
                        "says_disks": draw(st.booleans()),
                        "marked_for": "other" if draw(_rarely) else vm,
                    }
                )
    return {
        "tags": draw(st.sampled_from((["prod"], ["prod"], []))),
        "disks": draw(
            st.sampled_from(
                ({"root": "10GiB"}, {"root": "10GiB", "data": "20GiB"}, {"root": "5GiB"}, {})
            )
        ),
        "snapshots": snapshots,
        "busy": ["migrate_send"] if draw(_rarely) else [],
    }


@st.composite
def _histories(
    draw: st.DrawFn, vm: str, moments: dict[Any, list[dict[str, Any]]]
) -> dict[str, Any]:
    if draw(_rarely):
        return {"unknown": "cannot be read", "reason": "UnreadableMetadata"}
    points = []
    merges = []
    for (name, job), parts in moments.items():
        if name != vm:
            continue
        chosen = [part for part in parts if draw(st.integers(0, 3)) > 0]
        for part in chosen:
            points.append(
                {
                    **part,
                    "pruned": draw(_rarely),
                    "missing": ["root"] if draw(_rarely) else [],
                    "broken": {"root": "bad footer"} if draw(_rarely) else {},
                    "full": ["root"] if draw(_rarely) else [],
                }
            )
        own = [point for point in points if point["job"] == job]
        if len(own) > 1 and draw(_rarely):
            older, newer = own[0], own[1]
            clean = not (older["missing"] or older["broken"] or newer["missing"])
            if clean and not newer["broken"] and not newer["full"]:
                older["pruned"] = True
                merges.append({"job": job, "target": older["at"], "source": newer["at"]})
    points.sort(key=lambda point: point["at"])
    seen: set[datetime] = set()
    points = [point for point in points if not (point["at"] in seen or seen.add(point["at"]))]
    kept = {(point["job"], point["at"]) for point in points}
    return {
        "points": points,
        "merges": [
            merge
            for merge in merges
            if {(merge["job"], merge[end]) for end in ("target", "source")} <= kept
        ],
        "partials": ["vdis/x/y/.z.vhd.partial"] if draw(_rarely) else [],
        "unreadable": [{"path": "x.json", "why": "not JSON"}] if draw(_rarely) else [],
        "locked": draw(_rarely),
    }


@st.composite
def situations(draw: st.DrawFn) -> tuple[Desired, Observed, datetime]:
    """What the planner is given: what should be, what is, and what time it is."""
    now = draw(nows)
    desired = draw(desireds())
    tree = draw(trees(now, desired))
    return desired, observed_of(tree, desired), now


@st.composite
def crowded(draw: st.DrawFn) -> tuple[Desired, Observed, datetime]:
    """A job in sync whose retention has just become strict: much of it would be deleted."""
    now = MIDNIGHT + timedelta(hours=12)
    schedule = JobSchedule(
        "night",
        ScheduleId(uuid("schedule", "nightly", "night")),
        Schedule.parse("0 2 * * *"),
        draw(retentions(least=1)),
    )
    job = Job(
        name=JobName("nightly"),
        id=JobId(uuid("job", "nightly")),
        pools=(PoolName("east"),),
        remotes=(RemoteName("nas"), RemoteName("off")),
        selector=Selector(all=True),
        schedules=(schedule,),
        guard=PruneGuard(draw(st.integers(1, 60)), draw(st.integers(1, 9))),
    )
    desired = Desired(
        pools={PoolName("east"): Pool(PoolName("east"), ("https://x",), "root", SecretRef())},
        remotes={name: Remote(name, LocalPlace(f"/srv/{name}")) for name in job.remotes},
        jobs={job.name: job},
    )
    last = now.replace(hour=2, second=5)
    counts = st.integers(1, 8)
    tree = {
        "now": now,
        "pools": {
            "east": {
                "vms": {
                    vm: {"snapshots": [{"job": "nightly", "at": last, "schedules": ["night"]}]}
                    for vm in VMS
                }
            }
        },
        "remotes": {
            remote: {
                "vms": {
                    vm: {
                        "points": [
                            {
                                "job": "nightly",
                                "at": last - timedelta(days=day),
                                "schedules": ["night"],
                            }
                            for day in reversed(range(draw(counts)))
                        ]
                    }
                    for vm in VMS
                }
            }
            for remote in job.remotes
        },
    }
    return desired, observed_of(tree, desired), now
