"""Those who want the same reading wait for each other, and then it begins, once.

    part a ──▶ joins ─────┐
    part b ──▶ joins ─────┼─▶ all are here or withdrew ─▶ one reading, in a task of its own,
    part c ──▶ withdraws ─┘   (or it took too long)       feeds the sinks of those who joined

The reading's task is nobody's: a part that is cancelled or fails is only left behind. Who comes
too late meets whoever else does.

Knows who waits for whom; never what is read.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping
from typing import Generic, TypeVar

from reconciler.ids import ActionId
from reconciler.transfer.fanout import ByteFanOut, DiskFanOut
from reconciler.transfer.source import StreamError

K = TypeVar("K", bound=Hashable)
M = TypeVar("M")
F = TypeVar("F", bound=DiskFanOut | ByteFanOut)

Read = Callable[[F], Coroutine[None, None, None]]
"""Reads for the sinks of a fan-out; what it raises is the error of them all."""


class Rendezvous(Generic[K, M, F]):
    """K: names what is read. M: what a part brings to a meeting. make: makes the fan-out to the
    sinks that the members have brought, each known by its part.

    group: where the readings run. join_s: how long the first part waits for the others.
    """

    def __init__(
        self, group: asyncio.TaskGroup, make: Callable[[Mapping[str, M]], F], join_s: float
    ) -> None:
        self._group = group
        self._make: Callable[[Mapping[str, M]], F] = make
        self._join_s = join_s
        self._expected: defaultdict[K, set[ActionId]] = defaultdict(set)
        self._meetings: dict[K, _Meeting[M, F]] = {}

    def expect(self, key: K, parts: Iterable[ActionId]) -> None:
        """Say that each of these parts will join for the key, or withdraw."""
        self._expected[key].update(parts)

    def withdraw(self, part: ActionId, key: K) -> None:
        """Say that a part will not come, or not come again."""
        self._expected[key].discard(part)
        self._begin_if_complete(key)

    def withdraw_from_all(self, part: ActionId) -> None:
        for key in tuple(self._expected):
            self.withdraw(part, key)

    async def join(self, part: ActionId, key: K, member: M, read: Read[F]) -> F:
        """Wait until the reading of the key begins; return what then feeds the part's sink.

        read: any member's will do. A part that is cancelled meanwhile is not waited for.
        """
        meeting = self._meetings.get(key)
        if meeting is None:
            meeting = self._meetings[key] = _Meeting(read)
            loop = asyncio.get_running_loop()
            meeting.timer = loop.call_later(self._join_s, meeting.complete.set)
        assert part not in meeting.members, "a part reads a thing once"
        meeting.members[part] = member
        self.withdraw(part, key)
        try:
            await meeting.complete.wait()
        except asyncio.CancelledError:
            self._leave(part, key, meeting)
            raise
        return self._begun(key, meeting)

    def _begin_if_complete(self, key: K) -> None:
        meeting = self._meetings.get(key)
        if meeting is not None and not self._expected[key]:
            meeting.complete.set()

    def _begun(self, key: K, meeting: "_Meeting[M, F]") -> F:
        """Begin, if no other member has. Not done by whoever completes a meeting: it may have been
        cancelled together with everything else, and then nothing may begin."""
        if meeting.fan is None:
            meeting.close()
            del self._meetings[key]
            meeting.fan = self._make(meeting.members)
            self._group.create_task(_carried(meeting.fan, meeting.read), name=f"reading {key}")
        return meeting.fan

    def _leave(self, part: ActionId, key: K, meeting: "_Meeting[M, F]") -> None:
        if meeting.fan is not None:
            meeting.fan.drop(part, StreamError(f"{part} was cancelled"))
            return
        del meeting.members[part]
        if not meeting.members:
            meeting.close()
            del self._meetings[key]


class _Meeting(Generic[M, F]):
    """Those who wait for one reading. fan: once it has begun."""

    def __init__(self, read: Read[F]) -> None:
        self.read: Read[F] = read
        self.members: dict[str, M] = {}
        self.complete = asyncio.Event()
        self.timer: asyncio.TimerHandle | None = None
        self.fan: F | None = None

    def close(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


async def _carried(fan: F, read: Read[F]) -> None:
    """Read for as long as anybody wants it; its failure is everybody's, and nobody else's."""
    try:
        await fan.while_wanted(read(fan))
    except Exception as error:
        fan.fail(error)
    except BaseException:
        fan.fail(StreamError("the reading was stopped"))
        raise
