"""Mounting shares ourselves, with mount(8): for machines where nobody else does it.

Blocking; runs on a remote's own threads. A share is mounted at a directory of its own below a
state directory that only we can enter, once, however many processes ask; it stays mounted when a
process ends, for the next one. What is found there is used if it is the right share and answers.
A share whose mount is stale is unmounted (lazily: whoever still holds a file there keeps it) and
mounted anew; another share is never touched.

Passwords go through a file that only root reads, for as long as mounting takes: never on a command
line, in an environment or in an error.
"""

import contextlib
import errno
import fcntl
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from reconciler.remotes import pulse
from reconciler.remotes.errors import Denied, Unavailable
from reconciler.remotes.mounts import Mount, check_source, mount_at, read_mounts
from reconciler.remotes.shares import NfsPlace, SharePlace, SmbPlace

STATE_DIRECTORY = "/run/reconciler/mounts"
DEADLINE_S = 60.0
_SAYS_MAX = 500
_DEATH_S = 2.0
_NAME = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?/)?[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_PATH = re.compile(r"/[A-Za-z0-9._/-]*")
# A mount that answers so is of no use any more, however long one waits.
_STALE = frozenset({errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ESHUTDOWN})
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
}

Run = Callable[[Sequence[str], float], "Answer"]


@dataclass(frozen=True, slots=True)
class Answer:
    """How a program ended. status: None if it had not by its deadline."""

    status: int | None
    said: str


def run_program(command: Sequence[str], deadline_s: float) -> Answer:
    """Run a program that may hang, with nothing of our environment. Raises OSError."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_ENVIRONMENT,
        start_new_session=True,
        text=True,
        errors="replace",
    )
    try:
        _, said = process.communicate(timeout=deadline_s)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # In a system call that hangs it does not even die; then it is left to whoever inherits it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_DEATH_S)
        return Answer(None, "")
    return Answer(process.returncode, said.strip()[:_SAYS_MAX])


class Mounter:
    """state: the directory below which shares are mounted. run, mounts: for tests."""

    def __init__(
        self,
        state: str = STATE_DIRECTORY,
        *,
        deadline_s: float = DEADLINE_S,
        run: Run = run_program,
        mounts: Callable[[], Sequence[Mount]] = read_mounts,
    ) -> None:
        if not _PATH.fullmatch(state):  # it stands in an option string
            raise ValueError(f"not a plain absolute path: {state!r}")
        self._state = state.rstrip("/")
        self._deadline_s = deadline_s
        self._run = run
        self._mounts = mounts

    def directory_of(self, remote: str) -> str:
        if not _NAME.fullmatch(remote):
            raise ValueError(f"not a remote's name: {remote!r}")
        return f"{self._state}/{remote.replace('/', '_')}"  # of a namespace; no name has a _

    def mount(self, remote: str, place: SharePlace) -> str:
        """See to it that a share is mounted; return the mount point.

        Raises WrongRemote if another one is mounted there, Denied if mounting is not allowed to
        us, Unavailable if it does not work; OSError from the state directory.
        """
        directory = self.directory_of(remote)
        with self._alone(directory):
            found = mount_at(self._mounts(), directory)
            if found is not None:
                check_source(remote, place, found)
                if found.read_only == place.read_only and _answers(directory):
                    return directory
                self._unmount(remote, directory)
            self._mount(remote, place, directory)
            made = mount_at(self._mounts(), directory)
            if made is None:
                raise Unavailable(
                    remote, "", f"mount says that {place.source} is mounted; it is not"
                )
            check_source(remote, place, made)
        return directory

    @contextlib.contextmanager
    def _alone(self, directory: str) -> Iterator[None]:
        """Make the directory; keep other processes from mounting there meanwhile."""
        os.makedirs(self._state, mode=0o700, exist_ok=True)
        os.chmod(self._state, 0o700)
        descriptor = os.open(f"{directory}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # they have deadlines, too
            with contextlib.suppress(FileExistsError):
                os.mkdir(directory, 0o700)
            yield
        finally:
            os.close(descriptor)

    def _mount(self, remote: str, place: SharePlace, directory: str) -> None:
        with self._options(place, directory) as options:
            kind = "nfs" if isinstance(place, NfsPlace) else "cifs"
            command = ["mount", "-t", kind, "-o", options, place.source, directory]
            answer = self._ran(remote, command)
        if answer.status is None:
            message = f"mounting {place.source} took longer than {self._deadline_s:.0f} s"
            raise Unavailable(remote, "", message, errno.ETIMEDOUT)
        if answer.status != 0:
            kind_of = Denied if _is_denial(answer.said) else Unavailable
            raise kind_of(remote, "", f"cannot mount {place.source}: {answer.said or 'no reason'}")

    def _unmount(self, remote: str, directory: str) -> None:
        answer = self._ran(remote, ["umount", "-l", directory])
        if answer.status != 0:
            message = f"{directory} is stale and cannot be unmounted: {answer.said or 'no answer'}"
            raise Unavailable(remote, "", message)

    def _ran(self, remote: str, command: Sequence[str]) -> Answer:
        pulse.begin(command[0], command[-1])
        try:
            return self._run(command, self._deadline_s)
        except FileNotFoundError as error:
            raise Unavailable(remote, "", f"there is no program {command[0]} here") from error

    @contextlib.contextmanager
    def _options(self, place: SharePlace, directory: str) -> Iterator[str]:
        if isinstance(place, NfsPlace):
            yield place.option_string()
        elif not place.username:
            yield place.option_string(None)
        else:
            path = f"{directory}.credentials"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # of somebody who was killed while mounting
            try:
                _write_secret(path, place)
                yield place.option_string(path)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)


def _write_secret(path: str, place: SmbPlace) -> None:
    content = place.credentials().encode()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


def _answers(directory: str) -> bool:
    """Whether the server still knows the share. Raises OSError for what is no sign of either."""
    pulse.begin("statvfs", directory)
    try:
        os.statvfs(directory)
        os.listdir(directory)
    except OSError as error:
        if error.errno in _STALE:
            return False
        raise
    return True


def _is_denial(said: str) -> bool:
    return any(word in said.lower() for word in ("permission denied", "must be superuser"))
