"""What each failure is called, and when it is tried again."""

from datetime import UTC, datetime, timedelta

import pytest

from reconciler.catalog.errors import LockedByOther, MetadataInvalid, NotSafe
from reconciler.executor.refusal import Refused
from reconciler.executor.verdict import reason_of, verdict
from reconciler.observed.progress import Attempt
from reconciler.plan.actions import Prune
from reconciler.plan.reasons import Reason
from reconciler.remotes import errors as remote_errors
from reconciler.remotes.errors import Denied, Missing, NoSpace, Unavailable, WrongKey, WrongRemote
from reconciler.transfer.errors import ChainBroken
from reconciler.transfer.source import StreamError
from reconciler.vhd.errors import VhdInvalid
from reconciler.xapi import errors as xapi_errors
from reconciler.xapi.errors import (
    CredentialsInvalid,
    OutcomeUnknown,
    StreamStalled,
    StreamTruncated,
    Unreachable,
    XapiFailure,
)

NOW = datetime(2026, 1, 5, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), Reason.TIMED_OUT),
        (StreamStalled("no byte"), Reason.TIMED_OUT),
        (StreamTruncated(10, 3), Reason.STREAM_BROKEN),
        (StreamError("not what was asked for"), Reason.STREAM_BROKEN),
        (LockedByOther("cellar", "x.lock", 1.0), Reason.FOREIGN_WRITER),
        (NotSafe("a.vhd", "a point needs it"), Reason.WORLD_CHANGED),
        (NoSpace("cellar", "a", "full", 28), Reason.INSUFFICIENT_SPACE),
        (Missing("cellar", "a", "gone", 2), Reason.WORLD_CHANGED),
        (Denied("cellar", "a", "read-only", 30), Reason.REMOTE_ERROR),
        (Unavailable("cellar", "a", "I/O error", 5), Reason.REMOTE_ERROR),
        (WrongRemote("cellar", "a", "another share"), Reason.WRONG_REMOTE),
        (WrongKey("cellar", "metadata.json", "another key"), Reason.WRONG_KEY),
        (remote_errors.NotPermitted("cellar", "a", "another leads"), Reason.NOT_LEADING),
        (xapi_errors.NotPermitted("VM.snapshot"), Reason.NOT_LEADING),
        (CredentialsInvalid("refused"), Reason.CREDENTIALS_INVALID),
        (XapiFailure("HANDLE_INVALID", ["VDI", "x"]), Reason.WORLD_CHANGED),
        (XapiFailure("SR_BACKEND_FAILURE_44", []), Reason.INSUFFICIENT_SPACE),
        (XapiFailure("SR_BACKEND_FAILURE_47", []), Reason.XAPI_ERROR),
        (Unreachable("nobody answers"), Reason.POOL_UNREACHABLE),
        (OutcomeUnknown("VM.snapshot", "lost"), Reason.XAPI_ERROR),
        (VhdInvalid("nonsense", "footer"), Reason.BAD_DISK),
        (ChainBroken("a.vhd", "no parent"), Reason.BAD_DISK),
        (MetadataInvalid("not JSON"), Reason.BAD_DISK),
        (Refused(Reason.VM_BUSY, "migrating"), Reason.VM_BUSY),
        (KeyError("a mistake of ours"), Reason.INTERNAL_ERROR),
    ],
)
def test_every_failure_has_its_reason(error: Exception, reason: Reason) -> None:
    assert reason_of(error) is reason


def test_a_group_is_judged_by_the_failure_that_ended_it(action: Prune) -> None:
    group = ExceptionGroup("disks", [ExceptionGroup("one", [NoSpace("cellar", "a", "full", 28)])])
    assert verdict(action, group, None, NOW).reason == Reason.INSUFFICIENT_SPACE


def test_waits_grow_with_each_failure_and_never_end(action: Prune) -> None:
    attempt: Attempt | None = None
    waits = []
    for _ in range(12):
        attempt = verdict(action, Unavailable("cellar", "a", "I/O error", 5), attempt, NOW)
        assert attempt.not_before is not None
        waits.append(attempt.not_before - NOW)
    assert attempt is not None and attempt.count == 12
    assert waits[0] < timedelta(minutes=1) < waits[4] < waits[7]
    assert max(waits) <= timedelta(hours=1, minutes=15)


def test_somebody_elses_lock_is_looked_at_again_soon(action: Prune) -> None:
    before = Attempt(ended_at=NOW, succeeded=False, count=9, not_before=NOW)
    attempt = verdict(action, LockedByOther("cellar", "x.lock", 1.0), before, NOW)
    assert attempt.not_before is not None
    assert attempt.not_before - NOW <= timedelta(seconds=15)
