"""The planner: what should be, what is and what time it is go in; what to do about it comes out.

One pure function. It calls the rules in order and merges what they found; each rule is a file of
its own, named after what it decides. The order of actions is the order of debts: each says since
when it is due, and some kinds are more patient than others. Nothing is ever passed over for good,
because patience is a constant and debts age.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import assert_never

from reconciler.desired.state import Desired, Job
from reconciler.ids import RemoteName, ScheduleId
from reconciler.observed.chain import History
from reconciler.observed.progress import PlaceKind
from reconciler.observed.state import Observed
from reconciler.plan import (
    cancel,
    debris,
    due,
    guard,
    merge,
    offline,
    replica,
    restore,
    retention,
    send,
    strays,
    superseded,
    verify,
)
from reconciler.plan.actions import (
    Action,
    Archive,
    CleanFiles,
    CleanReplica,
    CleanSnapshot,
    CopyVm,
    Export,
    ExportKind,
    Merge,
    Prune,
    PruneReplica,
    Replicate,
    Snapshot,
    Verify,
)
from reconciler.plan.draft import Draft
from reconciler.plan.files import files_of
from reconciler.plan.plan import Held, Plan
from reconciler.plan.power_on import PowerOn
from reconciler.plan.reasons import Reason
from reconciler.plan.restore_actions import CleanRestore, RestoreDisk, RestoreVm
from reconciler.plan.scope import Scope, scopes_of, vm_at
from reconciler.plan.sites import all_sites
from reconciler.plan.slots import Slot, slots_of
from reconciler.plan.world import (
    CLOCK_TOLERANCE,
    Obstacle,
    World,
    obstacle_at,
    obstacle_of,
    vm_on_remote,
)

# How much longer than a backup that is due at the same time each kind can wait. Tidying up gives
# way to the backups of half a day, but is never starved by a backlog; people go first.
_HOUSEKEEPING = timedelta(hours=12)
_PATIENCE: dict[type[Action], timedelta] = {
    RestoreVm: timedelta(days=-7),
    RestoreDisk: timedelta(days=-7),
    CleanRestore: timedelta(days=-7),
    PowerOn: timedelta(days=-7),
    Snapshot: timedelta(),
    Export: timedelta(),
    Archive: timedelta(),
    Replicate: timedelta(),
    CopyVm: timedelta(),
    Merge: _HOUSEKEEPING,
    Prune: _HOUSEKEEPING,
    PruneReplica: _HOUSEKEEPING,
    CleanFiles: _HOUSEKEEPING,
    CleanSnapshot: _HOUSEKEEPING,
    CleanReplica: _HOUSEKEEPING,
    Verify: _HOUSEKEEPING,
}
_IN_THE_WAY = frozenset(  # of the next export
    {Reason.MERGE_INTERRUPTED, Reason.PARTIAL_UPLOAD, Reason.REPLICA_INTERRUPTED}
)
_SOMEBODY_WAITS = timedelta(days=1)  # for a run that was asked for by hand
_COUNTED: tuple[tuple[tuple[type[Action], ...], str, str], ...] = (
    ((RestoreVm, RestoreDisk), "restore", "restores"),
    ((PowerOn,), "start", "starts"),
    ((Snapshot,), "snapshot", "snapshots"),
    ((Export, Archive), "export", "exports"),
    ((Replicate, CopyVm), "replication", "replications"),
    ((Merge,), "merge", "merges"),
    ((Prune, PruneReplica), "prune", "prunes"),
    ((CleanFiles, CleanSnapshot, CleanReplica, CleanRestore), "clean", "cleans"),
    ((Verify,), "verification", "verifications"),
)
_RANK = {kind: rank for rank, kind in enumerate(_PATIENCE)}


def plan(desired: Desired, observed: Observed, now: datetime) -> Plan:
    """Say what to do, in which order, what has to wait and why, and when to ask again.

    now: aware, UTC. Equal inputs give an equal plan, whatever the order of their mappings.
    """
    world = World(desired, observed, now)
    draft = Draft(now)
    for problem in desired.problems:
        subject = problem.object or problem.path
        place = f"{problem.path}:{problem.line}" if problem.line else problem.path
        draft.hold(subject, Reason.INVALID_SPEC, f"{place}: {problem.message}")
    restore.rule(world, draft)
    for name in sorted(desired.jobs):
        _plan_job(world, desired.jobs[name], draft)
    for remote in sorted(desired.remotes):
        _tidy_remote(world, remote, draft)
    for pool, view in world.pools():
        offline.rule(world, pool, view, draft)
        strays.clean_unmarked(world, pool, view, draft)
        strays.clean_strays(world, pool, view, draft)
        strays.clean_disks(world, pool, view, draft)
        strays.report(world, pool, view, draft)
        replica.clean_interrupted(world, pool, view, draft)
    actions = tuple(sorted(draft.actions, key=_debt))
    held = tuple(sorted(draft.held, key=_held_order))
    return Plan(
        actions=actions,
        held=held,
        cancel=tuple(draft.cancels[action] for action in sorted(draft.cancels)),
        wake_at=draft.wake_at,
        sentence=_sentence(actions, held),
        deletions="+".join(sorted(draft.approvals)),
    )


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────


def _plan_job(world: World, job: Job, draft: Draft) -> None:
    if job.suspend:
        draft.hold(f"job {job.name}", Reason.SUSPENDED, "the job is suspended")
        if job.verification is not None:
            for scope in scopes_of(world, job):
                for target in scope.targets:
                    verify.wake(job, target, draft)
        return
    _report_obstacles(world, job, draft)
    slots = slots_of(job, world.now)
    active = {identity: slot for identity, slot in slots.items() if not slot.schedule.suspend}
    for schedule in job.schedules:
        following = schedule.schedule.next_due(world.now)
        if not schedule.suspend and following.year < datetime.max.year:
            draft.wake(following)
    request = due.request_of(world, job, draft)
    owed = due.without_cancelled(world, job, active, draft)
    ledgers: dict[str, retention.Ledger] = {}
    matched = 0
    for scope in scopes_of(world, job):
        _plan_vm(world, scope, (slots, owed), request, draft)
        if scope.matched:
            matched += 1
            for target in scope.holders:
                ledger = ledgers.setdefault(target.site.key, retention.Ledger())
                retention.rule(world, scope, target, ledger, draft)
            for target in scope.targets:
                verify.rule(world, scope, target, draft)
        superseded.rule(world, scope, draft)
    guard.rule(world.desired, job, ledgers, draft)
    if not matched and all(not isinstance(world.pool(pool), Obstacle) for pool in job.pools):
        why = "its selector chooses no VM on its pools"
        draft.hold(f"job {job.name}", Reason.NO_VMS_MATCHED, why)


def _plan_vm(
    world: World,
    scope: Scope,
    slots: tuple[Mapping[ScheduleId, Slot], Mapping[ScheduleId, Slot]],
    request: datetime | None,
    draft: Draft,
) -> None:
    """Plan what makes restore points of one VM. slots: all of them; those that may be owed."""
    every, owed = slots
    wanted = False
    if scope.matched:
        _report_twins(world, scope, draft)
        _report_unseen(scope, draft)
        _report_clock(scope, draft)
        wanted = due.rule(world, scope, owed, request, draft)
    if world.observed.progress.running:
        cancel.end_snapshot(world, scope, draft, wanted=wanted)
    send.rule(world, scope, every, draft)


def _report_obstacles(world: World, job: Job, draft: Draft) -> None:
    """Say once per job which pools and destinations are out of reach, not once per VM."""
    for pool in job.pools:
        seen = world.pool(pool)
        if isinstance(seen, Obstacle):
            draft.hold(f"job {job.name} on pool {pool}", seen.reason, seen.why)
    for site in all_sites(world, job):
        if site.obstacle is not None and site.kind is not PlaceKind.POOL:
            subject = f"job {job.name} on {site.label}"
            draft.hold(subject, site.obstacle.reason, site.obstacle.why)


def _report_unseen(scope: Scope, draft: Draft) -> None:
    """Say where a VM's part of a destination was not seen although the destination was."""
    for target in scope.targets:
        obstacle = target.obstacle
        if target.history is None and obstacle and not isinstance(target.site.view, Obstacle):
            draft.hold(vm_at(scope.vm.name, target.site), obstacle.reason, obstacle.why)


def _report_twins(world: World, scope: Scope, draft: Draft) -> None:
    """Report a uuid that two pools have: both would write into one directory of a remote."""
    pools = [pool for pool, _ in world.homes(scope.vm.uuid) if pool in scope.job.pools]
    if len(pools) > 1:
        why = f"pools {' and '.join(pools)} both have it; it is backed up from {scope.pool} only"
        draft.hold(f"VM {scope.vm.name} of job {scope.job.name}", Reason.INVALID_SPEC, why)


def _report_clock(scope: Scope, draft: Draft) -> None:
    """Report points that lie in the future: they answer every slot until their time has come.

    The clock was wrong when they were made, or is wrong now; a person must say which.
    """
    for target in scope.targets:
        newest = target.newest
        if newest is not None and newest.taken_at > draft.now + CLOCK_TOLERANCE:
            draft.hold(
                vm_at(scope.vm.name, target.site),
                Reason.CLOCK_BEHIND,
                f"its newest point is of {newest.taken_at:%Y-%m-%d %H:%M} UTC: no backup is due"
                " before that; set the clock right, or remove the point",
                until=newest.taken_at - CLOCK_TOLERANCE,
            )


# ── remotes ───────────────────────────────────────────────────────────────────────────────────────


def _tidy_remote(world: World, remote: RemoteName, draft: Draft) -> None:
    view = world.remote(remote)
    if isinstance(view, Obstacle) or obstacle_of(world, remote) is not None:
        return
    for history in view.histories.values():
        if isinstance(history, History):
            _tidy_vm(world, remote, history, draft)


def _tidy_vm(world: World, remote: RemoteName, history: History, draft: Draft) -> None:
    if history.unreadable:
        subject = vm_on_remote(merge.name_of(world, history), remote)
        first = history.unreadable[0]
        more = f", and {len(history.unreadable) - 1} more" if len(history.unreadable) > 1 else ""
        why = f"nothing is removed or merged beside {first.path}{more}: {first.why}"
        draft.hold(subject, Reason.UNREADABLE_METADATA, why)
    if obstacle_at(history) is not None:
        return
    debris.clean_partials(world, remote, history, draft)
    if merge.finish_merges(world, remote, history, draft) or history.unreadable:
        return
    files = files_of(world, remote, history)
    debris.report_quarantined(world, remote, history, files, draft)
    clean = debris.clean_garbage(world, remote, history, files)
    if clean is not None:
        draft.do(clean)
    merge.rule(world, remote, history, files, draft)


# ── the whole ─────────────────────────────────────────────────────────────────────────────────────


def _debt(  # noqa: PLR0912 (it is a table)
    action: Action,
) -> tuple[datetime, int, str, str, str, str]:
    """Order actions by their debt, then by anything that is always the same."""
    since = action.due + _PATIENCE[type(action)]
    if action.reason in _IN_THE_WAY:
        since = action.due
    place: str
    detail: str
    match action:
        case Snapshot():
            if action.reason is Reason.REQUESTED:
                since -= _SOMEBODY_WAITS
            place, detail = action.pool, action.job
        case Export():
            if action.reason is Reason.REQUESTED:
                since -= _SOMEBODY_WAITS
            place, detail = action.remote, action.job
        case Archive() | Verify():
            place, detail = action.remote, action.job
        case Replicate() | CopyVm():
            place, detail = action.sr, action.job
        case PowerOn():
            place, detail = action.pool, ""
        case PruneReplica():
            place, detail = action.sr, action.stamp
        case CleanReplica():
            place, detail = action.sr, action.replica
        case Merge():
            place, detail = action.remote, action.target
        case Prune() | RestoreVm() | RestoreDisk():
            place, detail = action.remote, action.stamp
        case CleanRestore():
            place, detail = action.pool, action.restore
        case CleanFiles():
            place, detail = action.remote, action.paths[0]
        case CleanSnapshot():
            place, detail = action.pool, action.snapshot or "".join(action.disks)
        case _:
            assert_never(action)
    return since, _RANK[type(action)], action.vm_name, action.vm or "", place, detail


def _held_order(held: Held) -> tuple[str, str, str, str]:
    stamp = getattr(held.action, "stamp", "")
    return held.subject, held.reason, stamp, held.why


def _sentence(actions: Sequence[Action], held: Sequence[Held]) -> str:
    """Say the plan in a line: "2 snapshots, 3 exports (1 full), 1 prune; 4 held"."""
    counts = Counter(type(action) for action in actions)
    parts = []
    for kinds, singular, plural in _COUNTED:
        count = sum(counts[kind] for kind in kinds)
        if not count:
            continue
        text = f"{count} {singular if count == 1 else plural}"
        fulls = sum(_is_full(action) for action in actions if isinstance(action, kinds))
        parts.append(f"{text} ({fulls} full)" if fulls else text)
    sentence = ", ".join(parts) or "in sync"
    return f"{sentence}; {len(held)} held" if held else sentence


def _is_full(action: Action) -> bool:
    match action:
        case Export():
            return any(disk.kind is ExportKind.FULL for disk in action.disks_to_send)
        case Replicate():
            return any(disk.kind is ExportKind.FULL for disk in action.disks)
        case Archive() | CopyVm():
            return True
        case _:
            return False
