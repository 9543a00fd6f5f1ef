"""The planner's laws while things run, are cancelled, and take too long."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from effects import apply, start
from hypothesis import event, given, settings
from hypothesis import strategies as st
from safety import check_is_safe
from strategies import SPANS, situations

from reconciler.desired.state import Desired, Timeouts
from reconciler.observed.progress import Attempt
from reconciler.observed.state import Observed
from reconciler.plan.actions import Sending, Snapshot, id_of, run_of
from reconciler.plan.planner import plan
from reconciler.plan.reasons import Reason

Situation = tuple[Desired, Observed, datetime]
ROUNDS_MAX = 40


def impatient(desired: Desired, random: Any) -> Desired:
    """Give every job timeouts, so that they matter often."""
    jobs = {
        name: replace(
            job,
            settings=replace(
                job.settings,
                timeouts=Timeouts(
                    vm=random.choice((None, *SPANS)), run=random.choice((None, None, *SPANS))
                ),
            ),
        )
        for name, job in desired.jobs.items()
    }
    return replace(desired, jobs=jobs)


@settings(deadline=None)
@given(situations(), st.randoms(use_true_random=False))
def test_only_what_runs_and_is_over_is_told_to_end_and_when_it_was_said(
    situation: Situation, random: Any
) -> None:
    desired, observed, now = situation
    patient = replace(desired, cancellations=())
    running = {}
    for action in plan(patient, observed, now).actions:
        if isinstance(action, Sending | Snapshot) and random.random() < 0.7:
            running[id_of(action)] = action
            since = now - timedelta(hours=random.choice((0, 4, 30)))
            observed = start([action], observed, since, desired)
    desired = impatient(desired, random)
    planned = plan(desired, observed, now)
    cancelled = {each.run for each in desired.cancellations}
    for cancel in planned.cancel:
        event(f"{type(running[cancel.action]).__name__} {cancel.reason}")
        action = running[cancel.action]
        if cancel.reason is Reason.CANCELLED:
            assert cancelled, "nobody cancelled anything"
        else:
            assert cancel.reason is Reason.TIMED_OUT
            timeouts = desired.jobs[action.job].settings.timeouts
            assert timeouts.vm or timeouts.run
    told = {cancel.action for cancel in planned.cancel}
    for id_, action in running.items():
        if isinstance(action, Sending) and run_of(action) in cancelled:
            assert id_ in told, "it goes on although its run was cancelled"
        spent = now - observed.progress.running[id_]
        allowed = desired.jobs[action.job].settings.timeouts.vm
        if isinstance(action, Sending) and allowed is not None and spent >= allowed:
            assert id_ in told, "it goes on for too long"
    if planned.wake_at is not None:
        assert planned.wake_at > now
        assert plan(desired, observed, planned.wake_at - timedelta.resolution) == planned
    else:
        assert plan(desired, observed, now + timedelta(days=1000)) == planned


@settings(deadline=None)
@given(situations(), st.randoms(use_true_random=False))
def test_what_took_too_long_is_not_tried_again_and_the_rest_ends_in_sync(
    situation: Situation, random: Any
) -> None:
    desired, observed, now = situation
    late = set()
    for _ in range(ROUNDS_MAX):
        planned = plan(desired, observed, now)
        if not planned.actions:
            event(f"{len(late)} took too long")
            return
        for action in planned.actions:
            assert id_of(action) not in late, "tried again for the same snapshot"
            if isinstance(action, Sending) and random.random() < 0.4:
                late.add(id_of(action))
                attempt = Attempt(now, False, 0, None, Reason.TIMED_OUT, "it was too slow")
                ended = {**observed.progress.ended, id_of(action): attempt}
                progress = replace(observed.progress, ended=ended)
                observed = replace(observed, progress=progress)
                continue
            check_is_safe(action, desired, observed, now)
            observed = apply(action, observed, now)
    raise AssertionError(f"still not in sync: {planned.sentence}")
