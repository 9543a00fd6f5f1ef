"""Law 6: limits hold at every instant, claims are compatible, and the oldest debt gets its turn."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

from effects import apply, end, start
from hypothesis import event, given, settings
from hypothesis import strategies as st
from strategies import situations
from worlds import uuid

from reconciler.desired.state import Desired, LocalPlace, Pool, Remote, SecretRef
from reconciler.ids import (
    ActionId,
    DiskSnapshotUuid,
    DiskUuid,
    JobId,
    JobName,
    PoolName,
    RemoteName,
    SnapshotUuid,
    VmUuid,
    stamp_of,
)
from reconciler.observed.progress import Attempt, Claims, SlotKind
from reconciler.observed.remote import RemoteView
from reconciler.observed.state import Observed
from reconciler.plan.actions import Action, DiskExport, Export, ExportKind, Merge, Sending, id_of
from reconciler.plan.admit import as_of_place, decide
from reconciler.plan.claims import claims_of, limit_of
from reconciler.plan.plan import Plan
from reconciler.plan.planner import plan
from reconciler.plan.reasons import Reason

NOW = datetime(2026, 8, 21, 2, 0, tzinfo=UTC)


def check_limits(running: list[Claims], desired: Desired) -> None:
    used: Counter[tuple[SlotKind, str]] = Counter()
    users: Counter[tuple[SlotKind, str]] = Counter()
    shared: dict[tuple[SlotKind, str, str], int] = {}
    for claims in running:
        for slots in claims.slots:
            if slots.shared and slots.count:
                word = slots.kind, slots.name, slots.shared
                shared[word] = max(slots.count, shared.get(word, 0))
            elif slots.count:
                used[slots.kind, slots.name] += slots.count
                users[slots.kind, slots.name] += 1
    for (kind, name, _), count in shared.items():
        used[kind, name] += count
        users[kind, name] += 1
    for (kind, name), count in used.items():
        assert count <= limit_of(kind, name, desired) or users[kind, name] == 1
    for one, other in combinations(running, 2):
        for place, mode in one.places:
            for same, others_mode in other.places:
                assert place != same or mode.together_with(others_mode)


def check_parties(starts: Sequence[Sequence[Action]]) -> None:
    """What sends one snapshot starts as one, and with nothing else."""
    keys = [
        {(each.pool, each.snapshot) if isinstance(each, Sending) else id_of(each) for each in party}
        for party in starts
    ]
    assert all(len(key) == 1 for key in keys)
    assert len({key for (key,) in keys}) == len(keys)


# ── as it goes: actions start, end, fail; the world is seen late ──────────────────────────────────


@settings(max_examples=settings.default.max_examples // 2, deadline=None)
@given(situations(), st.integers(1, 3), st.integers(1, 3), st.randoms(use_true_random=False))
def test_whatever_ends_when_limits_hold_and_all_is_done(
    situation: Any, exports_max: int, actions_max: int, random: Any
) -> None:
    desired, seen, now = situation
    desired = replace(
        desired,
        pools={name: replace(p, exports_max=exports_max) for name, p in desired.pools.items()},
        remotes={name: replace(r, actions_max=actions_max) for name, r in desired.remotes.items()},
    )
    truth = seen
    running: dict[ActionId, Action] = {}
    failures = 5
    for _ in range(400):
        now += timedelta(seconds=20)
        planned = plan(desired, seen, now)
        admission = decide(planned, desired, seen, now)
        assert len(admission.actions) + len(admission.waiting) == len(planned.actions)
        for party in admission.starts:
            for action in party:
                check_is_fresh(action, seen)
                assert id_of(action) not in running
                running[id_of(action)] = action
            seen = start(party, seen, now, desired)
        check_parties(admission.starts)
        check_limits(list(seen.progress.claims.values()), desired)
        if not running and not planned.actions:
            event("in sync")
            return
        if running and random.random() < 0.7:
            identity = random.choice(sorted(running))
            action = running.pop(identity)
            if failures and random.random() < 0.2:
                failures -= 1
                attempt = Attempt(now, False, 1, now + timedelta(seconds=30), "RemoteError", "EIO")
            else:
                truth = apply(action, truth, now)
                attempt = Attempt(now, True)
            seen = end(action, seen, now, attempt)
        if random.random() < 0.5:
            now += timedelta(seconds=1)
            seen = looked_at(truth, seen, now)
    raise AssertionError(f"not in sync: {plan(desired, seen, now).sentence}")


def check_is_fresh(action: Action, seen: Observed) -> None:
    """Nothing starts on a picture older than our own last change to what it shows."""
    for place, _ in claims_of(action).places:
        touched_at = seen.progress.touched.get(place)
        if touched_at is not None:
            as_of = as_of_place(place, seen)
            assert as_of is not None
            assert as_of > touched_at


def looked_at(truth: Observed, seen: Observed, now: datetime) -> Observed:
    """Return the truth, seen now; what could not be seen before is not seen now either."""
    fresh: dict[Any, Any] = {"pools": {}, "remotes": {}}
    for name, view in truth.pools.items():
        fresh["pools"][name] = replace(view, as_of=now) if hasattr(view, "as_of") else view
    for name, remote in truth.remotes.items():
        if isinstance(remote, RemoteView):
            histories = {
                vm: replace(each, as_of=now) if hasattr(each, "as_of") else each
                for vm, each in remote.histories.items()
            }
            fresh["remotes"][name] = replace(remote, histories=histories, as_of=now)
        else:
            fresh["remotes"][name] = remote
    return Observed(**fresh, progress=seen.progress)


# ── the oldest debt ───────────────────────────────────────────────────────────────────────────────

POOLS = (PoolName("east"), PoolName("west"))
REMOTES = (RemoteName("nas"), RemoteName("off"))


@st.composite
def estates(draw: st.DrawFn) -> Desired:
    small = st.integers(1, 4)
    return Desired(
        pools={
            name: Pool(name, ("https://x",), "root", SecretRef(), exports_max=draw(small))
            for name in POOLS
        },
        remotes={
            name: Remote(name, LocalPlace(f"/srv/{name}"), actions_max=draw(small))
            for name in REMOTES
        },
    )


@st.composite
def debts(draw: st.DrawFn, number: int) -> Action:
    """One export or merge. number: how young it is, and its VM unless it shares one.

    Some exports are one half of a pair that sends one snapshot to both remotes.
    """
    vm = VmUuid(uuid("vm", str(draw(st.sampled_from((number, number // 3))))))
    remote, pool = draw(st.sampled_from(REMOTES)), draw(st.sampled_from(POOLS))
    due = NOW + timedelta(seconds=number)
    if draw(st.integers(0, 3)) == 0:
        return Merge(
            remote, vm, "vm", None, f"a{number}", f"b{number}", 1, due, Reason.POINT_PRUNED
        )
    of = f"snapshot {number}"
    if draw(st.booleans()):
        pair = number // 2
        vm, of = VmUuid(uuid("vm", "of a pair", str(pair))), f"snapshot of pair {pair}"
        remote, pool = REMOTES[number % 2], POOLS[pair % 2]
    disks = tuple(
        DiskExport(
            DiskUuid(f"{of} {disk}"),
            DiskSnapshotUuid(f"{of} {disk}"),
            ExportKind.FULL,
            Reason.FIRST_BACKUP,
        )
        for disk in range(draw(st.sampled_from((0, 1, 1, 2, 3, 9))))
    )
    return Export(
        pool=pool,
        remote=remote,
        vm=vm,
        vm_name="vm",
        job=JobName("nightly"),
        job_id=JobId("job"),
        schedules=(),
        snapshot=SnapshotUuid(of),
        stamp=stamp_of(due),
        disks=disks,
        due=due,
        reason=Reason.POINT_MISSING,
    )


@settings(deadline=None)
@given(estates(), st.data(), st.randoms(use_true_random=False))
def test_what_the_oldest_debt_waits_for_no_younger_one_takes(
    desired: Desired, data: st.DataObject, random: Any
) -> None:
    queue = [data.draw(debts(number)) for number in range(data.draw(st.integers(4, 24)))]
    observed = Observed(remotes={name: RemoteView(name, NOW, None, None) for name in REMOTES})
    running: dict[ActionId, Action] = {}
    arrived = len(queue)
    in_front: dict[ActionId, list[set[ActionId]]] = {}
    for _ in range(200):
        planned = Plan(actions=tuple(a for a in queue if id_of(a) not in running))
        admission = decide(planned, desired, observed, NOW)
        for party in admission.starts:
            running.update({id_of(action): action for action in party})
            observed = start(party, observed, NOW, desired)
        check_parties(admission.starts)
        check_limits(list(observed.progress.claims.values()), desired)
        waiting = [action for action in queue if id_of(action) not in running]
        if not running:
            assert not waiting
            return
        if waiting:
            # It waits for those that are running when it becomes the oldest: first, perhaps, for
            # one at work on its VM, which keeps no slots free; then, once, for slots.
            oldest = id_of(waiting[0])
            generations = in_front.setdefault(oldest, [set(running)])
            if not generations[-1] & running.keys():
                generations.append(set(running))
            assert len(generations) <= 2, "the oldest debt was passed over"
        gone = random.choice(sorted(running))
        queue.remove(running.pop(gone))
        # Ends without a trace, so that no settling is in the way: it is not what is tested here.
        observed = replace(observed, progress=replace(end_of(gone, observed).progress))
        if arrived < 60:
            queue.append(data.draw(debts(arrived)))
            arrived += 1
    raise AssertionError("the queue does not end")


def end_of(identity: ActionId, observed: Observed) -> Observed:
    progress = observed.progress
    return replace(
        observed,
        progress=replace(
            progress,
            running={key: value for key, value in progress.running.items() if key != identity},
            claims={key: value for key, value in progress.claims.items() if key != identity},
        ),
    )
