"""Keeps one control plane, or its controllers, for all test processes of a run.

A test process asks with `keep` and holds a shared lock for as long as it lives. The keeper is a
process of nobody's: it waits until that lock has no users left, and ends what it keeps. So it does
not matter which process comes first, which goes first, and how they end.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from control_plane import READY_S, Children, ControlPlane, start_controllers

_READY = b"ready"


@contextlib.contextmanager
def keep(what: str, directory: Path) -> Iterator[None]:
    """Have "control-plane" or "controllers" run in a directory, for as long as this is entered.

    Raises AssertionError if it does not come up.
    """
    with (directory / f"{what}.users").open("wb") as users:
        fcntl.flock(users, fcntl.LOCK_SH)  # waits while a keeper without users cleans up
        with (directory / f"{what}.starting").open("wb") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            if not _sign(what, directory).exists():
                _start(what, directory)
        yield


def _start(what: str, directory: Path) -> None:
    output = directory / f"{what}.log"
    with output.open("wb") as log:
        command = [sys.executable, __file__, what, str(directory)]
        ended = subprocess.run(command, stdout=log, stderr=log, check=False, timeout=READY_S * 2)
    assert not ended.returncode, output.read_text(errors="replace")


def _sign(what: str, directory: Path) -> Path:
    """A file that is there while it runs."""
    return directory / f"{what}.running"


def _control_plane(directory: Path) -> Callable[[], None]:
    plane = ControlPlane(directory)
    try:
        plane.start()
    except BaseException:
        plane.stop()
        raise

    def stop() -> None:
        plane.stop()
        shutil.rmtree(directory / "etcd")  # the larger part; logs stay

    return stop


def _controllers(directory: Path) -> Callable[[], None]:
    children = Children(directory)
    start_controllers(children, directory)
    return children.kill_all


def _main(what: str, directory: Path) -> int:
    """Return as soon as it runs, or does not; the child stays and keeps it."""
    start = {"control-plane": _control_plane, "controllers": _controllers}[what]
    reads, writes = os.pipe()
    if os.fork():
        os.close(writes)
        return 0 if os.read(reads, len(_READY)) == _READY else 1
    os.setsid()
    os.close(reads)
    stop = start(directory)
    sign = _sign(what, directory)
    try:
        sign.touch()
        os.write(writes, _READY)
        os.close(writes)
        with (directory / f"{what}.users").open("wb") as users:
            fcntl.flock(users, fcntl.LOCK_EX)  # no users are left
            sign.unlink()
            stop()
    finally:
        sign.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], Path(sys.argv[2])))
