"""A file system that passes everything on to a directory, and fails or hangs on demand.

arguments: directory, mount point, control file. The control file holds JSON, looked at before each
call: {"calls": ["write", …], "errno": 5, "after_bytes": 0, "hang": false}. errno: the calls named
fail with it, once so many bytes were written since the control file changed. hang: they do not
come back until the control file says otherwise.
"""

import contextlib
import json
import os
import sys
import threading
import time
from pathlib import Path

import mfusepy

_LOOK_AGAIN_S = 0.02


class Faulty(mfusepy.Operations):
    use_ns = True

    def __init__(self, directory: str, control: Path) -> None:
        self._directory = directory
        self._control = control
        self._turn = threading.Lock()
        self._text = ""
        self._written = 0

    def _faults(self, call: str, count: int = 0) -> None:
        """Raises FuseOSError, or waits, as the control file says."""
        while True:
            with self._turn:
                text = self._control.read_text(encoding="utf-8")
                if text != self._text:
                    self._text, self._written = text, 0
                plan = json.loads(text or "{}")
                concerned = call in plan.get("calls", [])
                full = self._written + count > plan.get("after_bytes", 0)
                if concerned and plan.get("errno") and full:
                    raise mfusepy.FuseOSError(plan["errno"])
                if not (concerned and plan.get("hang") and full):
                    self._written += count
                    return
            time.sleep(_LOOK_AGAIN_S)

    def _path(self, path: str) -> str:
        return self._directory + path

    def getattr(self, path, fh=None):
        found = os.lstat(self._path(path))
        names = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks", "st_ino")
        times = {f"st_{each}time": getattr(found, f"st_{each}time_ns") for each in "amc"}
        return {name: getattr(found, name) for name in names} | times

    def readdir(self, path, fh):
        self._faults("readdir")
        return [".", "..", *os.listdir(self._path(path))]

    def create(self, path, mode, fi=None):
        self._faults("create")
        return os.open(self._path(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def open(self, path, flags):
        self._faults("open")
        return os.open(self._path(path), flags)

    def read(self, path, size, offset, fh):
        self._faults("read")
        return os.pread(fh, size, offset)

    def write(self, path, content, offset, fh):
        self._faults("write", len(content))
        return os.pwrite(fh, content, offset)

    def truncate(self, path, length, fh=None):
        self._faults("truncate")
        os.truncate(self._path(path), length)

    def fsync(self, path, datasync, fh):
        self._faults("fsync")
        os.fsync(fh)

    def fsyncdir(self, path, datasync, fh):
        self._faults("fsync")

    def release(self, path, fh):
        os.close(fh)

    def rename(self, old, new, flags=0):
        self._faults("rename")
        os.rename(self._path(old), self._path(new))

    def unlink(self, path):
        self._faults("unlink")
        os.unlink(self._path(path))

    def mkdir(self, path, mode):
        self._faults("mkdir")
        os.mkdir(self._path(path), mode)

    def rmdir(self, path):
        os.rmdir(self._path(path))

    def link(self, target, source):
        self._faults("link")
        os.link(self._path(source), self._path(target))

    def utimens(self, path, times=None):
        os.utime(self._path(path), ns=times)

    def statfs(self, path):
        found = os.statvfs(self._path(path))
        return {name: getattr(found, name) for name in dir(found) if name.startswith("f_")}


def main() -> None:
    directory, point, control = sys.argv[1:]
    with contextlib.suppress(KeyboardInterrupt):
        mfusepy.FUSE(
            Faulty(directory, Path(control)),
            point,
            foreground=True,
            nothreads=False,
            big_writes=True,
            max_write=1 << 20,
        )


if __name__ == "__main__":
    main()
