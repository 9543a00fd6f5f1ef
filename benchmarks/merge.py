"""Merging 1 GiB of a child into its parent, against moving the same bytes by the kernel's means.

On each file system: the child's blocks read and written, copied by copy_file_range, and shared by
FICLONERANGE (where it can), all into a file beside, all synced. The merge does all that is needed
around it as well: tables, journal, several syncs, a rename, and the removal of what is left over.
"""

import asyncio
import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator

from benchmarks.mounts import MAKERS, mounted, why_not
from benchmarks.report import GIB, MIB, Figure, median
from reconciler.remotes.open import open_remote
from reconciler.transfer.journal import journal_key_of
from reconciler.transfer.merge import Protocol, merge
from reconciler.vhd.encoder import Layout
from reconciler.vhd.layout import BLOCK, SLOT

ROUNDS = 3
CHILD_BLOCKS = 512
PARENT_BLOCKS = 520
"""Just enough more than the child for the merge in place where nothing can be shared."""
OVERLAP = 256
"""Blocks that both have: half of the child's overwrite, half are appended."""

_FICLONERANGE = 0x4020940D


def run(directory: str, note: Callable[[str], None]) -> Iterator[Figure]:
    reason = why_not()
    if reason:
        note(f"merge: skipped, {reason}")
        return
    for kind in MAKERS:
        try:
            with mounted(kind, directory, 8 * GIB) as point:
                yield from _on(kind, point)
        except (OSError, subprocess.CalledProcessError) as error:
            note(f"merge on {kind}: skipped, {error}")


def _on(kind: str, point: str) -> Iterator[Figure]:
    write_pair(point)
    child_mib = CHILD_BLOCKS * BLOCK / MIB
    limits: dict[str, list[float]] = {}
    merges: list[float] = []
    protocol = None
    for number in range(ROUNDS):
        for name, means in MEANS.items():
            if number and name == "read and write" and "reflink" in limits:
                continue  # where extents are shared it is no limit, and takes longest
            seconds = _moved(point, means)
            if seconds is not None:
                limits.setdefault(name, []).append(seconds)
        seconds, protocol = _merged(point)
        merges.append(seconds)
    speed = child_mib / median(merges)
    work = f"{kind}, {protocol}"
    for name, seconds_of in limits.items():
        limit = child_mib / median(seconds_of)
        compared = name == "read and write" and "reflink" not in limits
        yield Figure(
            "merge",
            work,
            speed,
            "MiB/s",
            limit,
            f"MiB/s, {name}",
            at_least=0.8 if compared else None,
        )
    if "reflink" in limits:
        yield Figure("merge", work, speed / 1024, "GiB/s", at_least=10)


def write_pair(point: str) -> None:
    """Write a parent and its child as exports leave them; kept aside for all rounds."""
    parent = (UUIDS[0], "1.vhd")
    size = (PARENT_BLOCKS + CHILD_BLOCKS) * BLOCK
    child_blocks = range(PARENT_BLOCKS - OVERLAP, PARENT_BLOCKS - OVERLAP + CHILD_BLOCKS)
    _write_disk(os.path.join(point, "1.kept"), Layout.of_disk(size, range(PARENT_BLOCKS), UUIDS[0]))
    _write_disk(os.path.join(point, "2.kept"), Layout.of_disk(size, child_blocks, UUIDS[1], parent))


UUIDS = ["11111111-0000-4000-8000-000000000001", "11111111-0000-4000-8000-000000000002"]


def _write_disk(path: str, layout: Layout) -> None:
    noise = bytearray(os.urandom(BLOCK))
    with open(path, "xb", buffering=0) as file:
        file.write(layout.preamble())
        for block in layout.blocks:
            noise[:8] = block.to_bytes(8, "little")
            file.write(layout.slot_head)
            file.write(noise)
        file.write(layout.trailer())
        os.fsync(file.fileno())


def _merged(point: str) -> tuple[float, Protocol]:
    """Merge a fresh copy of the pair; return the seconds."""
    for name in ("1", "2"):
        kept, vhd = os.path.join(point, f"{name}.kept"), os.path.join(point, f"{name}.vhd")
        subprocess.run(["cp", "--reflink=auto", kept, vhd], check=True)
    os.sync()

    async def timed() -> tuple[float, Protocol]:
        remote = await open_remote("bench", point)
        started = time.perf_counter()
        merged = await merge(remote, "1.vhd", "2.vhd", journal_key_of("1.vhd"))
        seconds = time.perf_counter() - started
        await remote.close()
        return seconds, merged.protocol

    found = asyncio.run(timed())
    os.unlink(os.path.join(point, "2.vhd"))
    shutil.rmtree(os.path.join(point, ".reconciler"), ignore_errors=True)
    os.sync()
    return found


def _moved(point: str, means: Callable[[int, int, int], None]) -> float | None:
    """Move the child's data into a new file, slot by slot, and sync; None if it cannot be done."""
    path = os.path.join(point, "limit")
    source = os.open(os.path.join(point, "2.kept"), os.O_RDONLY)
    target = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        started = time.perf_counter()
        for number in range(CHILD_BLOCKS):
            means(source, target, 4096 + number * SLOT)
        os.fsync(target)
        return time.perf_counter() - started
    except OSError:
        return None
    finally:
        os.close(source)
        os.close(target)
        os.unlink(path)
        os.sync()


_buffer = bytearray(BLOCK)


def _read_and_write(source: int, target: int, offset: int) -> None:
    os.preadv(source, [_buffer], offset)
    os.pwrite(target, _buffer, offset)


def _copy_file_range(source: int, target: int, offset: int) -> None:
    done = 0
    while done < BLOCK:
        done += os.copy_file_range(source, target, BLOCK - done, offset + done, offset + done)


def _reflink(source: int, target: int, offset: int) -> None:
    fcntl.ioctl(target, _FICLONERANGE, struct.pack("qQQQ", source, offset, BLOCK, offset))


MEANS: dict[str, Callable[[int, int, int], None]] = {
    "read and write": _read_and_write,
    "copy_file_range": _copy_file_range,
    "reflink": _reflink,
}
