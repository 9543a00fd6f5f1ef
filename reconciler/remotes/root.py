"""The directory where a remote begins, opened anew for each call, and proven to be still the same.

A share can go away under its mount point at any moment, and come back, or another one. What lies
on the file system that was seen first is the same; what lies on another one has to be proven so,
or is not touched: else an unmounted share would be taken for an empty one, and written beside.
"""

import errno
import os
import threading
from collections.abc import Callable

from reconciler.remotes import pulse

# How a share answers whose server has forgotten it.
_STALE = frozenset({errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN})
_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class Root:
    """path: absolute; may itself be a link.

    prove: sees to it that the right file system lies at the path (again), or raises OSError or a
    RemoteError; None: no other file system than the first is ever the right one. Raises OSError.
    """

    def __init__(self, path: str, prove: Callable[[], None] | None = None) -> None:
        self._path = path
        self._prove = prove
        self._turn = threading.Lock()
        self._device = os.stat(path).st_dev

    def open(self) -> int:
        """Open the directory, for walking on from it. The caller closes the descriptor."""
        pulse.begin("open", "")
        seen = self._device
        try:
            descriptor, device = _opened(self._path)
        except OSError as error:
            if error.errno not in _STALE or self._prove is None:
                raise
        else:
            if device == seen:
                return descriptor
            os.close(descriptor)
        self._prove_again(seen)
        descriptor, device = _opened(self._path)
        if device != self._device:
            os.close(descriptor)
            raise OSError(errno.ESTALE, "it was mounted again a moment ago")
        return descriptor

    def _prove_again(self, seen: int) -> None:
        with self._turn:
            if self._device != seen:
                return  # somebody else just did
            if self._prove is None:
                raise OSError(errno.ESTALE, "another file system than before is mounted here")
            self._prove()
            descriptor, self._device = _opened(self._path)
            os.close(descriptor)


def _opened(path: str) -> tuple[int, int]:
    """The descriptor and the device."""
    descriptor = os.open(path, _FLAGS)
    try:
        return descriptor, os.fstat(descriptor).st_dev
    except BaseException:
        os.close(descriptor)
        raise
