"""A full export of one disk from a pool to a file remote, and back to a file, against writing the
same bytes.

The pool is the lab, in another process, over loopback; the limit is what one thread can write and
sync on the same file system. On a machine with few cores the lab's work slows both down.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.pool import BLOCK, LabPool, incompressible_image, lab_pool
from benchmarks.report import GIB, MIB, Figure, median
from reconciler.remotes.open import open_remote
from reconciler.remotes.posix import PosixFilesystem
from reconciler.remotes.remote import Remote
from reconciler.transfer.export import receive_vhd
from reconciler.transfer.restore import open_chain, write_raw
from reconciler.transfer.sink import Identity
from reconciler.vhd.layout import BLOCK_RECORD, FOOTER_BYTES, SLOT_PAD, TABLE_OFFSET
from reconciler.xapi.client import XapiClient
from reconciler.xapi.disks import open_export

SIZE = GIB
ROUNDS = 3
IDENTITY = Identity("11111111-0000-4000-8000-000000000001")


@dataclass(frozen=True)
class Round:
    """Seconds for the same bytes."""

    write_s: float
    receive_s: float
    export_s: float
    export_cpu_s: float
    restore_s: float


def run(directory: str, note: Callable[[str], None]) -> Iterator[Figure]:
    image = os.path.join(directory, "disk.raw")
    incompressible_image(image, SIZE)
    with lab_pool(directory, [image]) as pool:
        os.unlink(image)
        rounds = asyncio.run(_rounds(pool, directory))
    size = SIZE / MIB
    write = size / median([entry.write_s for entry in rounds])
    receive = size / median([entry.receive_s for entry in rounds])
    export = size / median([entry.export_s for entry in rounds])
    cpu = median([entry.export_cpu_s for entry in rounds]) / (SIZE / GIB)
    yield Figure(
        "export", "1 GiB disk", export, "MiB/s", write, "MiB/s, write and fsync", at_least=0.8
    )
    yield Figure("export", "1 GiB disk", export, "MiB/s", receive, "MiB/s, receive and drop")
    yield Figure("export", "1 GiB disk", cpu, "CPU-s/GiB", at_most=1.1)
    restore = size / median([entry.restore_s for entry in rounds])
    yield Figure("restore", "to a raw file", restore, "MiB/s", write, "MiB/s, write and fsync")


async def _rounds(pool: LabPool, directory: str) -> list[Round]:
    target = os.path.join(directory, "remote")
    os.mkdir(target)
    remote = await open_remote("bench", target)
    async with XapiClient([pool.url], pool.username, lambda: pool.password) as client:
        (disk,) = await snapshot_disks(client)
        rounds = []
        for _ in range(ROUNDS):
            write_s = await asyncio.to_thread(write_and_sync, os.path.join(target, "limit"), SIZE)
            receive_s = await receive_and_drop(client, disk, SIZE)
            os.sync()
            cpu, started = time.process_time(), time.perf_counter()
            async with await open_export(client, disk) as stream:
                await receive_vhd(stream, remote, ".new.partial", IDENTITY)
            await remote.publish(".new.partial", "new.vhd")
            export_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
            restore_s = await _restore(remote, os.path.join(target, "new.raw"))
            rounds.append(Round(write_s, receive_s, export_s, cpu_s, restore_s))
            await remote.delete("new.vhd")
    await remote.close()
    return rounds


async def snapshot_disks(client: XapiClient) -> list[str]:
    """Take a snapshot of the benchmark's VM; return its disks' references."""
    (vm,) = await client.call("VM.get_by_name_label", "bench")
    snapshot = await client.call("VM.snapshot", vm, "bench")
    disks = []
    for vbd in await client.call("VM.get_VBDs", snapshot):
        record = await client.call("VBD.get_record", vbd)
        if record["type"] == "Disk":
            disks.append(str(record["VDI"]))
    return disks


async def receive_and_drop(client: XapiClient, disk: str, size: int) -> float:
    """How fast the pool and the connection are, with nothing done to the bytes: seconds."""
    view = memoryview(bytearray(BLOCK_RECORD))
    blocks = size // BLOCK
    table_bytes = -(-4 * blocks // 512) * 512
    started = time.perf_counter()
    async with await open_export(client, disk) as stream:
        await stream.read_exactly(view[: TABLE_OFFSET + 512 + table_bytes])
        for _ in range(blocks):
            await stream.read_exactly(view)
        await stream.read_exactly(view[:FOOTER_BYTES])
        await stream.finish()
    return time.perf_counter() - started


async def _restore(remote: Remote, path: str) -> float:
    started = time.perf_counter()
    async with open_chain(remote, ["new.vhd"]) as reader:
        await write_raw(reader, path)
    seconds = time.perf_counter() - started
    os.unlink(path)
    return seconds


def write_and_sync(path: str, size: int) -> float:
    """Write a file and sync it, on a disk that has nothing else to do; return the seconds."""
    os.sync()
    started = time.perf_counter()
    write_file(path, size)
    seconds = time.perf_counter() - started
    os.unlink(path)
    return seconds


def write_file(path: str, size: int) -> None:
    """Write blocks of 2 MiB, `size` bytes of them, by one thread, and sync them.

    With the system calls that remotes are written with, and where blocks lie in a disk's file: on
    boundaries of 2 MiB the same took Linux 6.18 four times as long, and nine times the processor.
    """
    piece = os.urandom(SLOT_PAD + BLOCK_RECORD)
    directory, name = os.path.split(path)
    file = PosixFilesystem(directory).create(name)
    try:
        for number in range(size // BLOCK):
            file.pwritev([piece], number * len(piece))
        file.sync()
    finally:
        file.close()
