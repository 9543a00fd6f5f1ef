"""The state directory: one reconciler at a time, and the record of what was done.

Nothing in it decides anything: delete it, and the next plan is the same. The lock is the kernel's
(flock), so it ends with its holder, however that ends; the holder's name in the file says whose
unfinished records are really running.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.cli.exits import ExitCode, Failure

_PATIENCE_S = 1.0  # readers hold the lock shared for a moment while they look
_NAME_BYTES_MAX = 512


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """Where it is. Nothing is made before it is held."""

    path: Path

    @property
    def records(self) -> Path:
        return self.path / "history.sqlite"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @contextlib.contextmanager
    def hold(self, owner: str) -> Iterator[None]:
        """Be the one reconciler that works with this directory; make it if it is not there.

        Raises Failure: another one works with it, or it cannot be written to.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Failure(
                f"cannot be written to: {error.strerror}",
                subject=f"state directory {self.path}",
                hint="name another one with --state or RECONCILER_STATE",
            ) from error
        try:
            if not _try_lock(descriptor, _PATIENCE_S):
                raise Failure(
                    f"in use by another reconciler ({_holder(descriptor)})",
                    subject=f"state directory {self.path}",
                    hint="stop that one, or name another directory with --state; two must never "
                    "work on the same pools and remotes",
                    code=ExitCode.LOCKED,
                )
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, owner.encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def live_owner(self) -> str | None:
        """Name of the reconciler that works with this directory right now, if one does."""
        try:
            descriptor = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _holder(descriptor)
        else:
            return None
        finally:
            os.close(descriptor)


def state_directory(given: Path | None) -> StateDirectory:
    """Take the directory given, else $RECONCILER_STATE, else the XDG state directory's place."""
    if given is None and (named := os.environ.get("RECONCILER_STATE")):
        given = Path(named)
    if given is None:
        state_home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        given = Path(state_home) / "reconciler"
    return StateDirectory(given)


def _try_lock(descriptor: int, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, _NAME_BYTES_MAX, 0).decode(errors="replace") or "unnamed"
