"""Generated worlds for the planner's laws: jobs, VMs, chains, gaps, unknowns, problems.

Small on purpose: few names, few instants, so that whatever can go together often does.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from worlds import disk_uuid, observed_of, sr_uuid, uuid, vm_uuid

from reconciler.desired.retention import Retention
from reconciler.desired.schedule import Schedule
from reconciler.desired.selector import Selector
from reconciler.desired.state import (
    AfterCancel,
    Cancellation,
    Consistency,
    Desired,
    Destination,
    DiskLayout,
    Job,
    JobMode,
    JobSchedule,
    LocalPlace,
    Pool,
    PruneGuard,
    Remote,
    Restore,
    RunRequest,
    SecretRef,
    Settings,
    SrTarget,
    Timeouts,
    Verification,
)
from reconciler.ids import (
    JobId,
    JobName,
    PoolName,
    RemoteName,
    RestoreId,
    RestoreName,
    ScheduleId,
    run_id,
    stamp_of,
)
from reconciler.observed.state import Observed

MIDNIGHT = datetime(2026, 3, 27, tzinfo=UTC)  # the clocks of Paris go forward two nights later
VMS = ("web", "db", "mail")
RESTORES = ("drill", "rescue")
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


_rarely = st.integers(0, 9).map(lambda number: number == 0)
_modes = st.sampled_from((*[JobMode.INCREMENTAL] * 4, JobMode.FULL, JobMode.SNAPSHOT))
_sr_targets = st.lists(
    st.sampled_from(
        (
            SrTarget("fast"),  # of the VM's own pool
            SrTarget("fast", PoolName("west")),
            SrTarget(sr_uuid("west", "fast"), PoolName("west")),  # the same, by its uuid
            SrTarget("slow", PoolName("west")),  # that only one pool has, and not always
        )
    ),
    unique=True,
    max_size=2,
)
_spans = st.one_of(st.none(), st.none(), st.sampled_from(SPANS))
_settings = st.builds(
    Settings,
    consistency=st.sampled_from(Consistency),
    timeouts=st.builds(Timeouts, vm=_spans, run=_spans),
    after_cancel=st.sampled_from(AfterCancel),
    exclude_disks=st.sampled_from(((), (), (), ("data*",), ("*",))),
)


@st.composite
def jobs(draw: st.DrawFn, name: str) -> Job:
    schedules = draw(st.lists(st.sampled_from(("night", "hour")), unique=True, max_size=2))
    mode = draw(_modes)
    remotes: list[RemoteName] = []
    srs: list[SrTarget] = []
    if mode is not JobMode.SNAPSHOT:
        srs = draw(st.one_of(st.just([]), _sr_targets))
        names = st.sampled_from((RemoteName("nas"), RemoteName("off")))
        remotes = draw(st.lists(names, unique=True, min_size=not srs, max_size=2))
    pools = draw(st.lists(st.sampled_from(("east", "west")), unique=True, min_size=1, max_size=2))
    return Job(
        name=JobName(name),
        id=JobId(uuid("job", name)),
        pools=tuple(map(PoolName, pools)),
        remotes=tuple(remotes),
        srs=tuple(srs),
        mode=mode,
        settings=draw(st.one_of(st.just(Settings()), _settings)),
        selector=draw(st.sampled_from((Selector(all=True), Selector(tags=frozenset({"prod"}))))),
        schedules=tuple(
            draw(_schedules(name, schedule, (*remotes, *srs))) for schedule in schedules
        ),
        full_every=draw(st.sampled_from((0, 0, 3))),
        run_on_create=draw(st.booleans()),
        suspend=draw(_rarely),
        guard=draw(
            st.sampled_from((PruneGuard(), PruneGuard(100, 1000), PruneGuard(10, 2, good_min=2)))
        ),
        verification=draw(st.one_of(st.none(), st.sampled_from(SPANS).map(Verification))),
    )


@st.composite
def _schedules(
    draw: st.DrawFn, job: str, name: str, destinations: tuple[Destination, ...]
) -> JobSchedule:
    own: frozenset[Destination] | None = None
    if destinations and draw(st.booleans()):
        own = draw(st.frozensets(st.sampled_from(destinations), min_size=1))
    return JobSchedule(
        name=name,
        id=ScheduleId(uuid("schedule", job, name)),
        schedule=Schedule.parse(
            draw(st.sampled_from(CRONS)), draw(st.sampled_from(("UTC", "Europe/Paris")))
        ),
        retention=draw(retentions()),
        suspend=draw(_rarely),
        deadline=draw(st.sampled_from((timedelta(0), timedelta(hours=1)))),
        destinations=own,
    )


@st.composite
def restores(draw: st.DrawFn, name: str) -> Restore:
    return Restore(
        name=RestoreName(name),
        id=RestoreId(uuid("restore", name)),
        vm=draw(st.sampled_from((*VMS, vm_uuid("web"), "nobody"))),
        pool=PoolName(draw(st.sampled_from(("east", "west")))),
        as_of=draw(st.one_of(st.none(), st.none(), nows)),
        remote=draw(st.sampled_from((None, None, RemoteName("nas"), RemoteName("off")))),
        sr=draw(st.sampled_from((None, "fast", "slow"))),
        suspend=draw(_rarely),
        revision="1",
    )


@st.composite
def desireds(draw: st.DrawFn, now: datetime) -> Desired:
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
                layout=DiskLayout.BLOCKS if draw(_rarely) else DiskLayout.FILES,
            )
            for name in ("nas", "off")
        },
        cancellations=tuple(
            Cancellation(run_id(job.name, slot), draw(st.sampled_from((None, slot, now))))
            for job in chosen.values()
            for schedule in job.schedules
            if (slot := schedule.schedule.last_due(now)) is not None and draw(_rarely)
        ),
        jobs=chosen,
        requests=() if asked is None else (RunRequest(JobName("nightly"), asked),),
        restores={
            RestoreName(name): draw(restores(name)) for name in RESTORES if draw(st.booleans())
        },
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
    pools: dict[str, Any] = {
        "east": {"vms": {}, "srs": ["fast"]},
        "west": {"vms": {}, "srs": draw(st.sampled_from((["fast", "slow"], ["fast"])))},
    }
    for vm in VMS:
        home = draw(st.sampled_from(("east", "east", "west", None)))
        if home is not None:
            pools[home]["vms"][vm] = draw(_vms(vm, moments))
    for (vm, _), parts in moments.items():
        if parts and not any(vm in pool["vms"] for pool in pools.values()) and draw(_rarely):
            pools["east"].setdefault("strays", []).append({**parts[0], "vm": vm})
    for pool in pools.values():
        pool["replicas"] = [
            replica
            for (vm, _), parts in moments.items()
            for sr in pool["srs"]
            if draw(st.integers(0, 3)) == 0
            for replica in draw(_replicas(vm, sr, parts))
        ]
    parts = [(vm, part) for (vm, _), each in moments.items() for part in each]
    for pool in pools.values():
        pool.update(draw(_begun(parts)))
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
def _begun(draw: st.DrawFn, parts: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """How far restores have come on a pool, also some that no manifest describes."""
    begun: dict[str, Any] = {"restores": {}, "restored": [], "loose": []}
    for name in (*RESTORES, "foreign"):
        state = draw(st.sampled_from(("", "", "", "begun", "half", "whole", "done", "gone")))
        if not state or not parts:
            continue
        vm, part = draw(st.sampled_from(parts))
        record = {"vm": vm, "at": part["at"], "revision": draw(st.sampled_from("1112"))}
        begun["restores"][name] = record
        if state in ("done", "gone"):
            record["made"] = f"made-{name}"
        if state in ("half", "whole", "done"):
            busy = ["import"] if state == "half" and draw(_rarely) else []
            made = {"restore": name, "vm": f"made-{name}", "whole": state != "half", "busy": busy}
            begun["restored"].append(made)
        if state in ("begun", "half") and draw(st.booleans()):
            begun["loose"].append({"restore": name, "disk": "root"})
    return begun


@st.composite
def _replicas(
    draw: st.DrawFn, vm: str, sr: str, parts: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Points of one VM and job on one SR; some of a replica that another took the place of."""
    found = []
    kind = draw(st.sampled_from(("Updated", "Updated", "Copied")))
    of, clean, importing = "first", draw(st.integers(0, 3)) > 0, draw(_rarely)
    for part in parts:
        if draw(_rarely):
            of, clean = "second", True
        copy = {"kind": "Copied"} if kind == "Copied" else {"of": of, "clean": clean}
        if kind == "Updated":
            copy["importing"] = importing
        if draw(_rarely):
            copy |= {"theirs": True} if kind == "Copied" else {"theirs": True, "of": "theirs"}
        if draw(st.booleans()):
            found.append({**part, **copy, "vm": vm, "sr": sr})
    if parts and draw(_rarely):
        found.append({**parts[-1], "vm": vm, "sr": sr, "of": "third", "interrupted": True})
    return found


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
                        "rolling": draw(_rarely),
                        "requested": part["at"] if draw(_rarely) else None,
                        "marked_for": "other" if draw(_rarely) else vm,
                    }
                )
    return {
        "tags": draw(st.sampled_from((["prod"], ["prod"], []))),
        "disks": draw(
            st.sampled_from(
                (
                    {"root": "10GiB"},
                    {"root": "10GiB", "data": "20GiB"},
                    {"root": "10GiB", "data [NOBAK]": "20GiB"},
                    {"root": "5GiB"},
                    {"root": "20GiB"},
                    {},
                )
            )
        ),
        "snapshots": snapshots,
        "busy": ["migrate_send"] if draw(_rarely) else [],
        "given_up": [
            {**parts[-1], "requested": parts[-1]["at"] if draw(st.booleans()) else None}
            for (name, _), parts in moments.items()
            if name == vm and parts and draw(_rarely)
        ],
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
        blocks = draw(_rarely)
        for part in chosen:
            if draw(_rarely):
                points.append({**part, "archive": True, "flaw": "bad" if draw(_rarely) else ""})
                continue
            points.append(
                {
                    **part,
                    "blocks": blocks,
                    "since_full": draw(st.sampled_from((None, 0, 2, 5))),
                    "pruned": draw(_rarely),
                    "missing": ["root"] if draw(_rarely) else [],
                    "broken": {"root": "bad footer"} if draw(_rarely) else {},
                    "full": ["root"] if draw(_rarely) else [],
                }
            )
        own = [point for point in points if point["job"] == job and not point.get("archive")]
        own = [] if blocks else own
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
        "proofs": {
            job: {"of": points[0]["at"], "at": draw(nows)}
            for job in sorted({point["job"] for point in points})
            if draw(st.booleans())
        },
        "partials": draw(_partials(vm, moments)),
        "unreadable": [{"path": "x.json", "why": "not JSON"}] if draw(_rarely) else [],
        "locked": draw(_rarely),
    }


@st.composite
def _partials(draw: st.DrawFn, vm: str, moments: dict[Any, list[dict[str, Any]]]) -> list[str]:
    """A file under a temporary name; blocks of which there is no alias yet."""
    found = ["vdis/x/y/.z.vhd.partial"] if draw(_rarely) else []
    for (name, job), parts in moments.items():
        if name == vm and parts and draw(_rarely):
            directory = f"vdis/{uuid('job', job)}/{disk_uuid(vm, 'root')}/data"
            found.append(f"{directory}/{stamp_of(parts[-1]['at'])}.vhd")
    return found


@st.composite
def situations(draw: st.DrawFn) -> tuple[Desired, Observed, datetime]:
    """What the planner is given: what should be, what is, and what time it is."""
    now = draw(nows)
    desired = draw(desireds(now))
    tree = draw(trees(now, desired))
    return desired, observed_of(tree, desired), now


@st.composite
def crowded(draw: st.DrawFn) -> tuple[Desired, Observed, datetime]:
    """A job in sync whose retention has just become strict: much of it would be deleted. Some were
    in mode Snapshot a moment ago, and keep the snapshots that they made.
    """
    now = MIDNIGHT + timedelta(hours=12)
    schedule = JobSchedule(
        "night",
        ScheduleId(uuid("schedule", "nightly", "night")),
        Schedule.parse("0 2 * * *"),
        draw(retentions(least=1)),
    )
    mode = draw(st.sampled_from((JobMode.INCREMENTAL, JobMode.INCREMENTAL, JobMode.SNAPSHOT)))
    rolling = mode is JobMode.SNAPSHOT
    moved = not rolling and draw(st.booleans())
    job = Job(
        name=JobName("nightly"),
        id=JobId(uuid("job", "nightly")),
        pools=(PoolName("east"),),
        remotes=() if rolling else (RemoteName("nas"), RemoteName("off")),
        srs=() if rolling else (SrTarget("fast"),),
        mode=mode,
        selector=Selector(all=True),
        schedules=(schedule,),
        guard=draw(
            st.one_of(
                st.just(PruneGuard(100, 1000)),
                st.builds(PruneGuard, st.integers(1, 60), st.integers(1, 9)),
            )
        ),
    )
    desired = Desired(
        pools={PoolName("east"): Pool(PoolName("east"), ("https://x",), "root", SecretRef())},
        remotes={name: Remote(name, LocalPlace(f"/srv/{name}")) for name in job.remotes},
        jobs={job.name: job},
    )
    last = now.replace(hour=2, second=5)

    def nights() -> list[dict[str, Any]]:
        """The newest comes last, and is there in any case."""
        return [
            {"job": "nightly", "at": last - timedelta(days=day), "schedules": ["night"]}
            for day in reversed(range(draw(st.integers(1, 8))))
        ]

    replicas: list[dict[str, Any]] = []
    for vm in () if rolling else VMS:
        kind = draw(st.sampled_from(("Updated", "Updated", "Copied")))
        changed_at = draw(st.integers(0, 8))  # from then on there is a second replica
        for number, night in enumerate(nights()):
            of = {"of": "first" if number < changed_at else "second"}
            told = {} if kind == "Copied" else of
            replicas.append({**night, **told, "vm": vm, "sr": "fast", "kind": kind})
    tree = {
        "now": now,
        "pools": {
            "east": {
                "srs": ["fast"],
                "replicas": replicas,
                "vms": {
                    vm: {
                        "snapshots": [
                            {**night, "rolling": rolling or moved}
                            for night in nights()[0 if rolling or moved else -1 :]
                        ]
                    }
                    for vm in VMS
                },
            }
        },
        "remotes": {
            remote: {"vms": {vm: {"points": nights()} for vm in VMS}} for remote in job.remotes
        },
    }
    return desired, observed_of(tree, desired), now
