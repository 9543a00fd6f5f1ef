"""A disk into a block directory on a file remote, out of it, and merged; without any pool.

Half of every 4 KiB is noise, half zeros: what a disk of a running system packs to, about. The limit
of writing is packing alone, on every processor; that of reading is unpacking alone.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from benchmarks.report import GIB, MIB, Figure, median
from reconciler.remotes.open import open_remote
from reconciler.remotes.remote import Remote
from reconciler.transfer.block_codec import BlockWorkers, Packing, pack, unpack_exactly
from reconciler.transfer.block_directory import alias_content
from reconciler.transfer.block_sink import BlockDirectorySink
from reconciler.transfer.chain_reader import open_chain
from reconciler.transfer.merge_blocks import merge_blocks
from reconciler.transfer.records import RUN_BYTES_MAX
from reconciler.transfer.sink import DiskHead, Identity
from reconciler.vhd.bitmap import FULL
from reconciler.vhd.layout import BLOCK, BLOCK_RECORD

SIZE = GIB
ROUNDS = 3
_FULL = Identity("11111111-0000-4000-8000-000000000001")
_DELTA = Identity("11111111-0000-4000-8000-000000000002", _FULL.uuid, "1.alias.vhd")


def run(directory: str, _note: Callable[[str], None]) -> Iterator[Figure]:
    record = FULL + b"".join(os.urandom(2048) + bytes(2048) for _ in range(BLOCK // 4096))
    size = SIZE / MIB
    packing = size / _packing_s(record)
    unpacking = size / _unpacking_s(record)
    rounds = [asyncio.run(_round(f"{directory}/{number}", record)) for number in range(ROUNDS)]
    write_s, write_cpu_s, read_s, merge_s = (
        median(list(column)) for column in zip(*rounds, strict=True)
    )
    yield Figure(
        "blocks", "written", size / write_s, "MiB/s", packing, "MiB/s, packing", at_least=0.6
    )
    yield Figure("blocks", "written", write_cpu_s / (SIZE / GIB), "CPU-s/GiB")
    yield Figure("blocks", "read", size / read_s, "MiB/s", unpacking, "MiB/s, unpacking")
    yield Figure("blocks", "merged", SIZE / BLOCK / merge_s, "blocks/s")


def _packing_s(record: bytes) -> float:
    return _on_all(lambda: pack(Packing.BROTLI, record))


def _unpacking_s(record: bytes) -> float:
    packed = pack(Packing.BROTLI, record)
    return _on_all(lambda: unpack_exactly(Packing.BROTLI, packed, BLOCK_RECORD))


def _on_all(call: Callable[[], bytes]) -> float:
    """Seconds for the blocks of the disk, on as many threads as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        started = time.perf_counter()
        for done in [threads.submit(call) for _ in range(SIZE // BLOCK)]:
            done.result()
        return time.perf_counter() - started


async def _round(directory: str, record: bytes) -> tuple[float, float, float, float]:
    os.mkdir(directory)
    os.sync()
    remote = await open_remote("bench", directory)
    workers = BlockWorkers()
    cpu, started = time.process_time(), time.perf_counter()
    await _send(remote, workers, "1", _FULL, record)
    write_s, write_cpu_s = time.perf_counter() - started, time.process_time() - cpu
    started = time.perf_counter()
    buffer = bytearray(RUN_BYTES_MAX)
    async with open_chain(remote, ["1.alias.vhd"], workers) as reader:
        for each in reader.runs():
            await reader.read_run(buffer, each)
    read_s = time.perf_counter() - started
    await _send(remote, workers, "2", _DELTA, record)
    started = time.perf_counter()
    await merge_blocks(remote, "1.alias.vhd", "2.alias.vhd", workers=workers)
    merge_s = time.perf_counter() - started
    workers.close()
    await remote.close()
    return write_s, write_cpu_s, read_s, merge_s


async def _send(
    remote: Remote, workers: BlockWorkers, name: str, identity: Identity, record: bytes
) -> None:
    alias, data = f"{name}.alias.vhd", f"data/{name}.vhd"
    sink = BlockDirectorySink(remote, alias, data, identity, workers)
    blocks = range(SIZE // BLOCK)
    await sink.begin(DiskHead(SIZE, identity.parent is not None, blocks))
    view = memoryview(record)
    for block in blocks:
        await sink.block(block, view, False)
    await sink.end()
    await remote.put(alias, alias_content(data))
