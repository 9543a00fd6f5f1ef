"""The lock of a VM's directory: Xen Orchestra's own, so that it and we never work there at once.

A directory beside the VM's is the lock; its modification time is the heartbeat. Creating it takes
the lock, touching it every 5 s keeps it, removing it gives it back. One that was not touched for
10 s has lost its owner and may be removed by whoever wants it.

Ages are differences between two times of the file server, never between its clock and ours. If
our lock is taken over (we stood still for too long, and somebody thought us dead), the body is
cancelled and LockLost comes out instead.

The heart beats by the machine's monotonic clock as well as by the given one: a clock that stands
still or is set back must not make us look dead.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from reconciler.catalog.errors import LockedByOther, LockLost
from reconciler.catalog.layout import lock_key
from reconciler.clock import Clock
from reconciler.ids import VmUuid
from reconciler.remotes.errors import Exists, Missing, RemoteError
from reconciler.remotes.filesystem import Stat
from reconciler.remotes.remote import Remote

HEARTBEAT_S = 5.0
STALE_S = 10.0
_RETRY_S = 1.0
_RELEASE_S = 3.0
_ATTEMPTS = 3
_PRESENT = ".reconciler"
"""A directory of ours at the root; touching it tells the file server's present."""

_held: set[tuple[str, VmUuid]] = set()


def is_held_here(remote: str, vm: VmUuid) -> bool:
    """Whether this process holds the lock."""
    return (remote, vm) in _held


@dataclass(slots=True)
class VmLock:
    """A lock that is held; what changes a VM's directory asks for one.

    remote, vm: what it is for. Use `verify` right before anything that cannot be undone.
    """

    remote: Remote
    vm: VmUuid
    _ours: Stat
    _turn: asyncio.Lock
    _lost: str = ""
    _told: bool = False  # the body was cancelled because of it
    _beating: bool = False  # a beat was begun; if it was cancelled, nobody knows what it wrote

    @property
    def key(self) -> str:
        return lock_key(self.vm)

    async def verify(self) -> None:
        """Look whether the lock is still ours. Raises LockLost, RemoteError."""
        async with self._turn:
            await self._look()

    async def beat(self) -> None:
        """Keep the lock for another while. Raises LockLost, RemoteError."""
        async with self._turn:
            await self._look()
            self._beating = True
            self._ours = await self.remote.touch(self.key)
            self._beating = False

    async def release(self) -> None:
        """Give the lock back, if it is ours. What fails is left: it goes stale by itself.

        That is wanted where a call of ours was given up because the remote hangs: until it is
        back the remote refuses whatever we would do in that directory, this among it.
        """
        with contextlib.suppress(RemoteError, LockLost, TimeoutError):
            async with asyncio.timeout(_RELEASE_S), self._turn:
                await self._look()
                await self.remote.remove_directory(self.key)

    async def _look(self) -> None:
        if self._lost:
            raise LockLost(self.remote.name, self.key, self._lost)
        try:
            found = await _stat_afresh(self.remote, self.key)
        except Missing:
            self._lost = "it was removed"
        else:
            if self._beating and found.inode == self._ours.inode:
                # Our own last beat, which was cut short: a lock that was just renewed is not stale.
                self._ours, self._beating = found, False
            if (found.inode, found.mtime_ns) != (self._ours.inode, self._ours.mtime_ns):
                self._lost = "somebody else took it over"
        if self._lost:
            raise LockLost(self.remote.name, self.key, self._lost)


@contextlib.asynccontextmanager
async def vm_lock(remote: Remote, vm: VmUuid, clock: Clock) -> AsyncIterator[VmLock]:
    """Hold the lock of a VM's directory for a while.

    Raises LockedByOther at once if somebody else holds it; LockLost, the body being cancelled, if
    it is taken over meanwhile; WrongRemote if another remote lies in its place; RemoteError.
    """
    await remote.prove()
    lock = VmLock(remote, vm, await _taken(remote, vm), asyncio.Lock())
    _held.add((remote.name, vm))
    body = asyncio.current_task()
    assert body is not None
    failure: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            heart = group.create_task(_keep(lock, clock, body))
            try:
                yield lock
            except Exception as error:  # carried around the group, which would wrap it
                failure = error
            finally:
                heart.cancel()
        if lock._lost:
            await asyncio.sleep(0)  # where the heart's cancellation arrives, if it has not yet
            raise asyncio.CancelledError
    except asyncio.CancelledError:
        from_outside = body.uncancel() if lock._told else body.cancelling()
        if from_outside or not lock._lost:
            raise
        failure = LockLost(remote.name, lock.key, lock._lost)
    finally:
        _held.discard((remote.name, vm))
        await lock.release()
    if failure is not None:
        raise failure


async def _keep(lock: VmLock, clock: Clock, body: "asyncio.Task[object]") -> None:
    """Beat until cancelled; once the lock is lost, cancel the body."""
    loop = asyncio.get_running_loop()
    last_beat = loop.time()
    pause_s = HEARTBEAT_S
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await clock.sleep_until(clock.now() + timedelta(seconds=pause_s))
        try:
            began = loop.time()
            await lock.beat()
        except LockLost:
            break
        except RemoteError as error:
            if loop.time() - last_beat > STALE_S:
                lock._lost = f"it could not be touched for {STALE_S:.0f} s: {error}"
                break
            pause_s = _RETRY_S
        else:
            last_beat, pause_s = began, HEARTBEAT_S
    lock._told = body.cancel()


async def _taken(remote: Remote, vm: VmUuid) -> Stat:
    """Take the lock, or, cancelled meanwhile, give back what was taken for nobody."""
    taking = asyncio.ensure_future(_take(remote, vm))
    try:
        return await asyncio.shield(taking)
    except asyncio.CancelledError:
        with contextlib.suppress(RemoteError, LockedByOther, TimeoutError):
            async with asyncio.timeout(_RELEASE_S):
                ours = await taking
            await VmLock(remote, vm, ours, asyncio.Lock()).release()
        raise


async def _take(remote: Remote, vm: VmUuid) -> Stat:
    key = lock_key(vm)
    age_s = 0.0
    for _ in range(_ATTEMPTS):
        try:
            await remote.make_directory(key)
        except Exists:
            pass
        else:
            return await remote.stat(key)
        try:
            age_s = await _age_s(remote, key)
            if age_s <= STALE_S or is_held_here(remote.name, vm):
                raise LockedByOther(remote.name, key, age_s)
            await remote.remove_directory(key)
        except Missing:
            continue
    raise LockedByOther(remote.name, key, age_s)


async def _age_s(remote: Remote, key: str) -> float:
    """How long ago the lock was touched, by the file server's clock. Raises Missing."""
    try:
        present = await remote.touch(_PRESENT)
    except Missing:
        with contextlib.suppress(Exists):
            await remote.make_directory(_PRESENT)
        present = await remote.touch(_PRESENT)
    # The lock is looked at last: what its owner does meanwhile only makes it younger.
    found = await _stat_afresh(remote, key)
    return (present.mtime_ns - found.mtime_ns) / 10**9


async def _stat_afresh(remote: Remote, key: str) -> Stat:
    """Stat a directory as the server sees it now.

    NFS clients may answer `stat` of a directory from memory for a minute, by which time a living
    owner would look dead; opening it (to list it) makes them ask.
    """
    await remote.list(key)
    return await remote.stat(key)
