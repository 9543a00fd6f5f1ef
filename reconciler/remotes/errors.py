"""What can happen at a remote. Nothing else leaves this package.

RemoteError
├─ Missing        it is not there (the remote said so, it is not a failure to look)
├─ Exists         the name is taken
├─ NoSpace        no space, inodes or quota left
├─ Denied         permissions, read-only file system
├─ TooLarge       an object is larger than it may be
├─ WrongRemote    another place lies there than the one that is meant: hands off
├─ WrongKey       encrypted with another key, or not as the manifest says; nothing was written
├─ NotPermitted   we may not change anything any more: somebody else leads; nothing was changed
├─ Damaged        an encrypted object is not what was written: its tag does not fit
└─ Unavailable    I/O error, stale handle, time-out: nothing is known
"""

import errno
import os


class RemoteError(Exception):
    """remote, key: on what. errno: the system's number, 0 if there is none."""

    def __init__(self, remote: str, key: str, message: str, errno: int = 0) -> None:
        super().__init__(f"{remote}:{key}: {message}")
        self.remote = remote
        self.key = key
        self.message = message
        self.errno = errno


class Missing(RemoteError):
    pass


class Exists(RemoteError):
    pass


class NoSpace(RemoteError):
    pass


class Denied(RemoteError):
    pass


class TooLarge(RemoteError):
    pass


class WrongRemote(RemoteError):
    pass


class WrongKey(RemoteError):
    pass


class NotPermitted(RemoteError):
    pass


class Damaged(RemoteError):
    pass


class Unavailable(RemoteError):
    pass


_KINDS: dict[int, type[RemoteError]] = {
    errno.ENOENT: Missing,
    errno.EEXIST: Exists,
    errno.ENOTEMPTY: Exists,
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
    errno.EFBIG: NoSpace,
    errno.EACCES: Denied,
    errno.EPERM: Denied,
    errno.EROFS: Denied,
}


def from_os_error(remote: str, key: str, error: OSError) -> RemoteError:
    """Say in this package's words what the system said; whatever is not known is Unavailable."""
    number = error.errno or 0
    message = error.strerror or (os.strerror(number) if number else str(error))
    return _KINDS.get(number, Unavailable)(remote, key, message, number)
