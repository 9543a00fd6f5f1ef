"""Where manifests are kept by file, with the last good version of each object.

Hand in readings, take out Desired. A file that is gone takes its objects with it (which never
deletes a backup); a file that is there and cannot be read, or a directory that is gone as a
whole, does not.
"""

import hashlib
import os
from collections.abc import Iterator

from reconciler.desired.document import Identity, ManifestFile
from reconciler.desired.problems import Problem
from reconciler.desired.resolve import Good, resolve
from reconciler.desired.state import Desired
from reconciler.sources.documents import parse_file
from reconciler.sources.scan import Reading


class Shelf:
    """One per operator; readings come in one at a time, from one thread at a time."""

    def __init__(self) -> None:
        self._good: dict[Identity, Good] = {}
        self._parsed: dict[str, tuple[bytes, ManifestFile]] = {}

    def put(self, reading: Reading) -> Desired:
        """Take a reading and resolve it; files that did not change are not parsed again."""
        files = list(self._files(reading))
        present = {file.path for file in files}
        lost = [os.path.abspath(path) for path in reading.look.lost]
        missing = {good.path for good in self._good.values()} - present
        files += [
            ManifestFile(path, unread=True) for path in sorted(missing) if _is_under(path, lost)
        ]
        resolution = resolve(files, self._good)
        self._good = dict(resolution.good)
        return resolution.desired

    def _files(self, reading: Reading) -> Iterator[ManifestFile]:
        parsed: dict[str, tuple[bytes, ManifestFile]] = {}
        for path, content in reading.contents.items():
            if isinstance(content, Problem):
                yield ManifestFile(path, problems=(content,))
                continue
            digest = hashlib.blake2b(content, digest_size=16).digest()
            known = self._parsed.get(path)
            if known is None or known[0] != digest:
                known = digest, parse_file(path, content)
            parsed[path] = known
            yield known[1]
        self._parsed = parsed
        for path, problem in (*reading.look.refused.items(), *reading.look.lost.items()):
            yield ManifestFile(path, problems=(problem,))


def _is_under(path: str, directories: list[str]) -> bool:
    absolute = os.path.abspath(path)
    return any(absolute == one or absolute.startswith(one + os.sep) for one in directories)
