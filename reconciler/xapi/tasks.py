"""Tasks: long calls that the pool carries out by itself, awaited to their end.

A task's status is the truth about a transfer or an asynchronous call. A task that is gone (the
toolstack was restarted, or it was collected) says nothing: the outcome is unknown.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import (
    GONE,
    BadAnswer,
    OutcomeUnknown,
    SessionLost,
    Unreachable,
    XapiError,
    XapiFailure,
)
from reconciler.xapi.wire import Json, failure_of, parse_task_result

_FIRST_LOOK_S = 0.02
_LOOK_MAX_S = 1.0
_UNREACHABLE_MAX_S = 60.0
"""A pool that cannot be asked for so long while a task runs: give up on knowing."""


class TaskStatus(StrEnum):
    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


_UNDER_WAY = frozenset({TaskStatus.PENDING, TaskStatus.CANCELLING})


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task as it stands. result: XML-RPC text. error_info: `[CODE, params…]`."""

    status: str
    progress: float
    result: str
    error_info: tuple[str, ...]

    @staticmethod
    def of(record: Json) -> "TaskView":
        """Raises BadAnswer."""
        if not isinstance(record, dict) or not isinstance(status := record.get("status"), str):
            raise BadAnswer("a task's record has no status")
        progress = record.get("progress")
        errors = record.get("error_info")
        return TaskView(
            status=status,
            progress=float(progress) if isinstance(progress, int | float) else 0.0,
            result=str(record.get("result") or ""),
            error_info=tuple(map(str, errors)) if isinstance(errors, list) else (),
        )


async def run_async(
    client: XapiClient, method: str, args: Sequence[Json], deadline_s: float
) -> Json:
    """Call `Async.<method>`, wait for its task and return the parsed result.

    Raises XapiFailure if the pool refused or the task failed, OutcomeUnknown if the call or its
    task was lost, or it took longer than `deadline_s`. Cancelled: the task is cancelled too.
    """
    ref = await client.call(f"Async.{method}", *args)
    if not isinstance(ref, str):
        raise OutcomeUnknown(method, "the task is not a reference")
    try:
        async with asyncio.timeout(deadline_s):
            task = await wait_for_task(client, ref, method)
    except BaseException as error:
        await _give_up(client, ref)
        if isinstance(error, TimeoutError):
            raise OutcomeUnknown(method, f"it took longer than {deadline_s:g} s") from None
        raise
    await destroy_task(client, ref)
    return parse_task_result(task.result)


async def wait_for_task(client: XapiClient, ref: str, what: str) -> TaskView:
    """Wait until a task has succeeded.

    Raises XapiFailure with the task's error, OutcomeUnknown if the task is gone or the pool cannot
    be asked. what: names the work in errors.
    """
    loop = asyncio.get_running_loop()
    asked_at = loop.time()
    pause_s = _FIRST_LOOK_S
    while True:
        try:
            task = TaskView.of(await client.call("task.get_record", ref))
        except XapiFailure as failure:
            if failure.code in GONE:
                raise OutcomeUnknown(what, "its task is gone") from failure
            raise
        except (Unreachable, SessionLost) as error:
            if loop.time() - asked_at > _UNREACHABLE_MAX_S:
                raise OutcomeUnknown(what, f"its task cannot be asked: {error}") from error
        else:
            if task.status not in _UNDER_WAY:
                return _ended(task, what)
            asked_at = loop.time()
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LOOK_MAX_S)


def _ended(task: TaskView, what: str) -> TaskView:
    match task.status:
        case TaskStatus.SUCCESS:
            return task
        case TaskStatus.CANCELLED:
            raise failure_of(task.error_info or ("TASK_CANCELLED",), what)
        case _:
            raise failure_of(task.error_info, what)


async def create_task(client: XapiClient, label: str) -> str:
    """Make a task for a transfer to adopt; return its reference. Raises XapiError."""
    ref = await client.call("task.create", label, "")
    if not isinstance(ref, str):
        raise BadAnswer("task.create: the task is not a reference")
    return ref


async def destroy_task(client: XapiClient, ref: str) -> None:
    """Remove a task that is over. Best effort, bounded: the pool collects them in the end."""
    with contextlib.suppress(XapiError, TimeoutError):
        async with asyncio.timeout(client.deadlines.close_s):
            await client.call("task.destroy", ref)


async def cancel_task(client: XapiClient, ref: str) -> None:
    """Ask for a task to be cancelled. Best effort, bounded; the work may go on regardless."""
    with contextlib.suppress(XapiError, TimeoutError):
        async with asyncio.timeout(client.deadlines.close_s):
            await client.call("task.cancel", ref)


async def _give_up(client: XapiClient, ref: str) -> None:
    with contextlib.suppress(XapiError, TimeoutError):
        async with asyncio.timeout(client.deadlines.close_s):
            if TaskView.of(await client.call("task.get_record", ref)).status in _UNDER_WAY:
                await client.call("task.cancel", ref)
    await destroy_task(client, ref)
