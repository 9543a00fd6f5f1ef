"""File systems to measure on: ext4, XFS and btrfs in files, mounted by loop devices."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

MAKERS = {
    "ext4": ["mkfs.ext4", "-q", "-F"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-m", "reflink=1"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
}


def why_not() -> str:
    """Say why no file system can be mounted here; empty if it can."""
    if os.geteuid() != 0:
        return "not root, so no file system can be mounted"
    if not os.path.exists("/dev/loop-control"):
        return "there are no loop devices"
    return ""


@contextmanager
def mounted(kind: str, directory: str, size: int) -> Iterator[str]:
    """Make a file system of a kind and give the directory where it is mounted.

    Raises OSError or CalledProcessError if it cannot be made or mounted.
    """
    image, point = os.path.join(directory, f"{kind}.img"), os.path.join(directory, kind)
    with open(image, "xb") as file:
        file.truncate(size)
    os.mkdir(point)
    try:
        subprocess.run([*MAKERS[kind], image], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", image, point], check=True, capture_output=True)
        try:
            yield point
        finally:
            subprocess.run(["umount", point], check=True)
    finally:
        os.rmdir(point)
        os.unlink(image)
