"""Directories of manifests, followed as they change: edits, checkouts, swapped links, lost mounts.

Notifications of the file system only say when to look; what is believed is what a look finds. So
a lost notification, or a file system without any (NFS), costs a second and nothing else. A change
is let come to rest before it is read, and while git holds its index lock nothing is read at all:
a checkout of many files arrives as one.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from time import monotonic

from watchfiles import awatch

from reconciler.desired.state import Desired
from reconciler.latest import Latest
from reconciler.sources.scan import Look, Reading, look_at, take_reading
from reconciler.sources.shelf import Shelf

_QUIET_MS = 100  # without a change, before a reading: editors and checkouts take far less between
_BURST_MS = 2_000  # of changes without a pause, before a reading all the same
_LOOK_MS = 1_000  # between looks without a notification
_ATTEMPTS_MAX = 10  # to find files at rest; then those that never rest are taken as they are
_GIT_LOCK_S = 60.0  # a lock older than this was left behind by a git that died


class ManifestFiles:
    """The desired state as directories say it. One reader at a time."""

    def __init__(self, directories: Sequence[str]) -> None:
        """directories: as the user gave them; files are accepted, too."""
        self._roots = tuple(directories)
        self._shelf = Shelf()
        self._reading: Reading | None = None
        self._desired: Desired | None = None
        self._attempts = 0  # since something changed, without a reading that could be used
        self._locked_since: float | None = None

    def read(self) -> Desired:
        """Read once; blocks. For `plan` and `validate`, which want the present and no more."""
        self._reading = take_reading(self._roots, self._look)
        self._desired = self._shelf.put(self._reading)
        return self._desired

    async def follow(self) -> AsyncGenerator[Desired, None]:
        """Yield the present state, then each newer one that differs. Ends by being closed."""
        desired = await asyncio.to_thread(self._read_if_changed, True)
        if desired is not None:
            yield desired
        while True:
            watched = await asyncio.to_thread(self._watched)
            async with aclosing(_notifications(watched)) as notifications:
                async for notified in notifications:
                    desired = await asyncio.to_thread(self._read_if_changed, notified)
                    if desired is not None:
                        yield desired
                    if await asyncio.to_thread(self._watched) != watched:
                        break  # directories came or went: watch those that are there now

    async def publish(self, latest: Latest[Desired]) -> None:
        """Put each state that `follow` yields; runs until cancelled."""
        async with aclosing(self.follow()) as states:
            async for desired in states:
                latest.put(desired)

    @property
    def _look(self) -> Look | None:
        return self._reading.look if self._reading else None

    def _watched(self) -> tuple[str, ...]:
        """Return the directories to be notified of: of the last look, and git's for its lock."""
        watch = set(self._look.watch) if self._look else set()
        watch |= {os.path.dirname(lock) for lock in self._git_locks()}
        return tuple(sorted(path for path in watch if os.path.isdir(path))) or (os.sep,)

    def _read_if_changed(self, notified: bool) -> Desired | None:
        """Return the state if it is another than before; blocks."""
        if self.git_is_busy():
            self._attempts += 1
            return None
        before = self._reading
        if before is not None and not notified and not self._attempts:
            # A change that was not notified of may be in the middle: it is read when next we wake.
            self._attempts = 0 if self._is_as(before) else 1
            return None
        reading = take_reading(self._roots, self._look)
        if not reading.at_rest and self._attempts < _ATTEMPTS_MAX:
            self._attempts += 1
            return None
        self._attempts = 0
        self._reading = reading
        if before is not None and reading.same_as(before):
            return None
        desired = self._shelf.put(reading)
        if desired == self._desired:
            return None
        self._desired = desired
        return desired

    def _is_as(self, before: Reading) -> bool:
        return look_at(self._roots, before.look).same_as(before.look)

    def _git_locks(self) -> list[str]:
        return [lock for root in self._roots if (lock := _git_lock(root)) is not None]

    def git_is_busy(self) -> bool:
        if not any(os.path.exists(lock) for lock in self._git_locks()):
            self._locked_since = None
            return False
        now = monotonic()
        if self._locked_since is None:
            self._locked_since = now
        return now - self._locked_since < _GIT_LOCK_S


async def _notifications(watched: Sequence[str]) -> AsyncGenerator[bool, None]:
    """Say that something changed (True), or that it is time to look all the same."""
    notifications = awatch(
        *watched,
        watch_filter=None,
        step=_QUIET_MS,
        debounce=_BURST_MS,
        rust_timeout=_LOOK_MS,
        yield_on_timeout=True,
        recursive=False,
        ignore_permission_denied=True,
    )
    try:
        async with aclosing(notifications):
            async for changes in notifications:
                yield bool(changes)
    except (OSError, RuntimeError):  # watchfiles' own error is a RuntimeError
        # A directory went while we asked for it, or the system has no watches left for us.
        await asyncio.sleep(_LOOK_MS / 1000)
        yield False


def _git_lock(root: str) -> str | None:
    """Return where git's index lock would be, if `root` lies in a working tree."""
    directory = os.path.realpath(root)
    while not os.path.lexists(os.path.join(directory, ".git")):
        parent = os.path.dirname(directory)
        if parent == directory:
            return None
        directory = parent
    marker = os.path.join(directory, ".git")
    if os.path.isdir(marker):
        return os.path.join(marker, "index.lock")
    try:
        with open(marker, encoding="utf-8", errors="replace") as file:
            line = file.readline(4096)  # of a worktree: "gitdir: /where/its/index/is"
    except OSError:
        return None
    target = line.removeprefix("gitdir:").strip()
    return os.path.join(directory, target, "index.lock")
