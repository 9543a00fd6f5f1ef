"""What a failure means: the one place where an error becomes "again, then" or "a person must look".

Crafts raise what happened. Here it gets a reason code, and a time for the next try; whether a next
try makes sense at all is the planner's affair, which plans from the world and not from errors.
"""

from datetime import datetime, timedelta

from reconciler.catalog.errors import CatalogError, LockedByOther, NotSafe
from reconciler.executor.refusal import Refused
from reconciler.observed.progress import Attempt
from reconciler.plan.actions import Action, id_of
from reconciler.plan.backoff import not_before
from reconciler.plan.reasons import Reason
from reconciler.remotes import errors as remote_errors
from reconciler.remotes.errors import Missing, NoSpace, RemoteError, WrongKey, WrongRemote
from reconciler.transfer.errors import TransferError
from reconciler.transfer.sink import SlowSink, StalledSink
from reconciler.transfer.source import StreamError
from reconciler.vhd.errors import VhdError
from reconciler.xapi import errors as xapi_errors
from reconciler.xapi.errors import (
    GONE,
    CredentialsInvalid,
    StreamBroken,
    StreamStalled,
    Unreachable,
    XapiError,
    XapiFailure,
)
from reconciler.xva.errors import XvaError

_OTHER_WRITER_WAIT = timedelta(seconds=15)  # a lock without a heartbeat is stale after ten


_STORAGE_FULL = frozenset({"SR_BACKEND_FAILURE_44", "SR_FULL"})


def verdict(action: Action, error: Exception, before: Attempt | None, now: datetime) -> Attempt:
    """Judge a failed try. before: how the try before this one ended, if there was one."""
    cause = cause_of(error)
    count = before.count + 1 if before is not None else 1
    reason = reason_of(cause)
    again = not_before(id_of(action), count, now)
    if reason is Reason.FOREIGN_WRITER:
        again = min(again, now + _OTHER_WRITER_WAIT)
    return Attempt(
        ended_at=now,
        succeeded=False,
        count=count,
        not_before=again,
        reason=reason,
        why=str(cause) or type(cause).__name__,
    )


def reason_of(error: Exception) -> Reason:  # noqa: PLR0911, PLR0912 (it is a table)
    """Give the reason code of what happened."""
    match error:
        case Refused():
            return error.reason
        case remote_errors.NotPermitted() | xapi_errors.NotPermitted():
            return Reason.NOT_LEADING
        case TimeoutError() | StreamStalled():
            return Reason.TIMED_OUT
        case LockedByOther():
            return Reason.FOREIGN_WRITER
        case NotSafe():
            return Reason.WORLD_CHANGED
        case NoSpace():
            return Reason.INSUFFICIENT_SPACE
        case Missing():
            return Reason.WORLD_CHANGED
        case WrongRemote():
            return Reason.WRONG_REMOTE
        case WrongKey():
            return Reason.WRONG_KEY
        case RemoteError():
            return Reason.REMOTE_ERROR
        case CredentialsInvalid():
            return Reason.CREDENTIALS_INVALID
        case Unreachable():
            return Reason.POOL_UNREACHABLE
        case XapiFailure(code=code) if code in GONE:
            return Reason.WORLD_CHANGED
        case XapiFailure(code=code) if code in _STORAGE_FULL:
            return Reason.INSUFFICIENT_SPACE
        case StalledSink():
            return Reason.STALLED
        case SlowSink():
            return Reason.SLOW_DESTINATION
        case StreamBroken() | StreamError() | XvaError():
            return Reason.STREAM_BROKEN
        case XapiError():
            return Reason.XAPI_ERROR
        case VhdError() | TransferError() | CatalogError():
            return Reason.BAD_DISK
        case _:
            return Reason.INTERNAL_ERROR


def cause_of(error: Exception) -> Exception:
    """Take the first real failure out of a group: siblings were only cancelled because of it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
