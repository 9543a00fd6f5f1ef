"""What is mounted where, as the kernel says it (/proc/self/mountinfo), and whether it is right.

Text in, values out; nothing is mounted here.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.remotes.errors import Unavailable, WrongRemote
from reconciler.remotes.shares import SharePlace

MOUNTINFO = "/proc/self/mountinfo"
_ESCAPED = re.compile(r"\\([0-7]{3})")
_FIELDS_BEFORE_SEPARATOR = 6


@dataclass(frozen=True, slots=True)
class Mount:
    """point: the directory. root: which part of the file system lies there. source: of what.

    kind: the file system's name for itself. read_only: the mount, or all of the file system.
    """

    point: str
    root: str
    kind: str
    source: str
    read_only: bool


def read_mounts() -> list[Mount]:
    """All mounts that this process sees, in the order in which they were made. Raises OSError."""
    with open(MOUNTINFO, encoding="utf-8", errors="surrogateescape") as file:
        return parse(file.read())


def parse(text: str) -> list[Mount]:
    """Read mountinfo (proc(5)): `id parent dev root point options [optional…] - kind source super`.

    Lines of another shape are left out: nothing is known of what they say.
    """
    mounts = []
    for line in text.splitlines():
        fields = line.split(" ")
        if "-" not in fields[_FIELDS_BEFORE_SEPARATOR:]:
            continue
        separator = fields.index("-", _FIELDS_BEFORE_SEPARATOR)
        after = fields[separator + 1 :]
        if len(after) < 3:
            continue
        root, point, options = (_unescaped(each) for each in fields[3:6])
        mounts.append(
            Mount(
                point=point,
                root=root,
                kind=after[0],
                source=_unescaped(after[1]),
                read_only="ro" in options.split(",") or "ro" in after[2].split(","),
            )
        )
    return mounts


def mount_at(mounts: Sequence[Mount], path: str) -> Mount | None:
    """The mount whose point is this very directory; of several on each other, the uppermost.

    path: absolute. Links in it are followed, for which the server may be asked.
    """
    point = os.path.realpath(path)
    found = [each for each in mounts if each.point == point]
    return found[-1] if found else None


def check_mounted(remote: str, path: str, mounts: Sequence[Mount]) -> Mount:
    """Return what is mounted on a directory. Raises Unavailable if nothing is."""
    mount = mount_at(mounts, path)
    if mount is None:
        raise Unavailable(
            remote,
            "",
            f"{path} is not a mount point: the share is not mounted (what is written there now"
            " would land on this machine's own disk)",
        )
    return mount


def check_source(remote: str, place: SharePlace, mount: Mount) -> None:
    """Raises WrongRemote if this is another share than the place's."""
    if mount.kind not in place.kinds or not _is_same_source(place.source, mount):
        raise WrongRemote(
            remote,
            "",
            f"{mount.point} is a mount of {mount.source} ({mount.kind}), not of {place.source};"
            " mount the right share there, or name this one in the manifest",
        )


def _is_same_source(wanted: str, mount: Mount) -> bool:
    """A directory of a share that is mounted by itself (bind mounts, CSI) may stand in the source
    or in the mount's root."""
    wanted = _canonical(wanted)
    below = mount.root if mount.root != "/" else ""
    return wanted in (_canonical(mount.source), _canonical(mount.source.rstrip("/") + below))


def _canonical(source: str) -> str:
    """Names of servers have no case, and trailing slashes say nothing."""
    source = source.replace("\\", "/")
    start = 2 if source.startswith("//") else 0
    end = source.find("/", start)
    host, rest = (source, "") if end < 0 else (source[:end], source[end:])
    return host.lower() + "/" + rest.strip("/")


def _unescaped(field: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), field)
