"""Whatever the world is like, an object says nothing that its page does not name."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from strategies import situations
from vocabulary import BACKUP_FAILED, POOL_UNSEEN, REMOTE_UNSEEN, RESTORE_FAILED, says

from reconciler.desired.document import Identity
from reconciler.desired.manifest import JOB, POOL, PROTECTED, REMOTE, RESTORE, RUN
from reconciler.desired.problems import Problem
from reconciler.desired.state import Desired
from reconciler.kube.run_status import conditions_of
from reconciler.observed.progress import Attempt, Progress
from reconciler.observed.remote import RemoteView
from reconciler.observed.state import Observed
from reconciler.observed.unknown import Unknown
from reconciler.plan.actions import id_of
from reconciler.plan.planner import plan
from reconciler.plan.reasons import Reason
from reconciler.plan.restore_actions import CleanRestore, RestoreVm
from reconciler.status.objects import object_statuses
from reconciler.status.protected import protections
from reconciler.status.report import Report
from reconciler.status.runs import RunState
from reconciler.status.series import declared_in

Situation = tuple[Desired, Observed, datetime]


def tried(observed: Observed, actions: Any, now: datetime, random: Any) -> Observed:
    """Let some of what is planned run, and some have failed."""
    running, ended = {}, {}
    for action in actions:
        chance = random.random()
        if chance < 0.2:
            running[id_of(action)] = now - timedelta(hours=1)
        elif chance < 0.5:
            is_restore = isinstance(action, RestoreVm | CleanRestore)
            reason = random.choice(sorted(RESTORE_FAILED if is_restore else BACKUP_FAILED))
            ended[id_of(action)] = Attempt(now, False, 1, now, reason, "why")
    return replace(observed, progress=Progress(running=running, ended=ended))


def with_reasons(observed: Observed, random: Any) -> Observed:
    """Say of all that was not seen why, as observers do."""

    def said(view: Any, reasons: Iterable[Reason]) -> Any:
        match view:
            case Unknown():
                return replace(view, reason=random.choice(sorted(reasons)))
            case RemoteView():
                told = {vm: said(each, REMOTE_UNSEEN) for vm, each in view.histories.items()}
                return replace(view, histories=told)
            case _:
                return view

    return replace(
        observed,
        pools={name: said(view, POOL_UNSEEN) for name, view in observed.pools.items()},
        remotes={name: said(view, REMOTE_UNSEEN) for name, view in observed.remotes.items()},
    )


@settings(deadline=None)
@given(situations(), st.randoms(use_true_random=False), st.booleans())
def test_nothing_is_said_that_the_pages_do_not_name(
    situation: Situation, random: Any, mistaken: bool
) -> None:
    desired, observed, now = situation
    declared = declared_in(desired)
    declared += [Identity(kind, "default", "other") for kind in (POOL, REMOTE, JOB, RESTORE, RUN)]
    if mistaken:
        problems = tuple(
            Problem("all.yaml", 1, 1, "wrong", object=str(random.choice(declared)))
            for _ in range(3)
        )
        desired = replace(desired, problems=problems)
    observed = with_reasons(observed, random)
    observed = tried(observed, plan(desired, observed, now).actions, now, random)
    report = Report(desired, observed, plan(desired, observed, now), now)
    said = {identity.kind: set() for identity in declared} | {PROTECTED: set()}
    for identity, status in object_statuses(report, declared).items():
        said[identity.kind] |= {(each.type, each.reason) for each in status.conditions}
    for each in protections(report):
        said[PROTECTED] |= {(one.type, one.reason) for one in each.conditions}
    for kind, conditions in said.items():
        assert conditions <= says(kind), kind
        for type_, reason in conditions:
            event(f"{kind} {type_} {reason}")


@pytest.mark.parametrize("state", RunState)
def test_a_run_says_nothing_that_its_page_does_not_name(state: RunState) -> None:
    failed = {RunState.FAILED: Reason.REMOTE_ERROR, RunState.PARTIALLY_FAILED: Reason.STALLED}
    said = {(each.type, each.reason) for each in conditions_of(state, "", failed.get(state))}
    assert said <= says(RUN)
