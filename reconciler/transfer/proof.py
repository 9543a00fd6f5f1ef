"""A disk or an archive read to its end, as a restore reads it, going nowhere: is anything wrong?

Damage is an answer here, not an error: a file that was read and is not what was written. What could
not be read, for now or for ever, is an error as everywhere, and says nothing of the file.

Knows files and their links; never restore points.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from reconciler.remotes.errors import Damaged
from reconciler.remotes.remote import Remote
from reconciler.transfer.archive import checked_pieces
from reconciler.transfer.block_codec import BlockWorkers
from reconciler.transfer.chain_reader import open_chain
from reconciler.transfer.errors import ChainBroken
from reconciler.transfer.records import RUN_BYTES_MAX
from reconciler.transfer.sums import SumTable, sum_of
from reconciler.vhd.layout import BITMAP, BLOCK, BLOCK_RECORD
from reconciler.xva.errors import XvaError


@dataclass(frozen=True, slots=True)
class Flaw:
    """key: of what is at fault: a file, or something in its block directory. blocks: of the disk,
    among which it was found; none if the tables of its files are at fault.
    """

    key: str
    why: str
    blocks: frozenset[int] = frozenset()


async def flaw_of_disk(
    remote: Remote,
    keys: Sequence[str],
    workers: BlockWorkers,
    expected: SumTable | None = None,
    *,
    within: Collection[int] = (),
    on_sum: Callable[[int, int], None] = lambda _block, _checksum: None,
    on_expected: Callable[[int], None] = lambda _: None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Flaw | None:
    """Read every block of a disk through its chain, tip first. expected: what it must read as.

    within: only around these blocks. on_sum: is told each block's checksum; on_expected,
    on_progress: bytes. Raises RemoteError.
    """
    blocks = frozenset[int]()
    try:
        async with open_chain(remote, keys, workers) as chain:
            gone = None
            if expected is not None:
                gone = await asyncio.to_thread(expected.lacking, chain.blocks())
            if gone is not None:
                return Flaw(keys[0], f"{keys[0]}: block {gone} is gone", frozenset({gone}))
            on_expected(len(chain.blocks()) * BLOCK)
            buffer = bytearray(RUN_BYTES_MAX)
            view = memoryview(buffer)
            for run in chain.runs():
                blocks = frozenset(block for block, _ in run.records)
                if within and blocks.isdisjoint(within):
                    continue
                await chain.read_run(buffer, run)
                for block, start in run.records:
                    checksum = sum_of(view[start + BITMAP : start + BLOCK_RECORD])
                    if expected is not None and expected.differs(block, checksum):
                        why = f"block {block} is not what was written"
                        key = chain.holder(block)
                        return Flaw(key, f"{key}: {why}", frozenset({block}))
                    on_sum(block, checksum)
                on_progress(len(run.records) * BLOCK)
    except (ChainBroken, Damaged) as error:
        return Flaw(error.key, str(error), blocks)
    return None


async def flaw_of_archive(
    remote: Remote,
    key: str,
    *,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Flaw | None:
    """Read an archive of a VM and check all that it can be checked by. Raises RemoteError."""
    try:
        async with remote.download(key) as pieces:
            async for piece in checked_pieces(pieces):
                on_progress(len(piece))
    except (XvaError, Damaged) as error:
        return Flaw(key, str(error))
    return None
