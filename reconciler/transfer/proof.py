"""A disk or an archive read to its end, as a restore reads it, going nowhere: is anything wrong?

Damage is an answer here, not an error: a file that was read and is not what was written. What could
not be read, for now or for ever, is an error as everywhere, and says nothing of the file.

Knows files and their links; never restore points.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from reconciler.remotes.errors import Damaged
from reconciler.remotes.remote import Remote
from reconciler.transfer.archive import checked_pieces
from reconciler.transfer.block_codec import BlockWorkers
from reconciler.transfer.chain_reader import open_chain
from reconciler.transfer.errors import ChainBroken
from reconciler.transfer.records import RUN_BYTES_MAX
from reconciler.vhd.layout import BLOCK
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
    *,
    within: Collection[int] = (),
    on_expected: Callable[[int], None] = lambda _: None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Flaw | None:
    """Read every block of a disk through its chain, tip first. within: only around these blocks.

    on_expected, on_progress: are told bytes. Raises RemoteError.
    """
    blocks = frozenset[int]()
    try:
        async with open_chain(remote, keys, workers) as chain:
            on_expected(len(chain.blocks()) * BLOCK)
            buffer = bytearray(RUN_BYTES_MAX)
            for run in chain.runs():
                blocks = frozenset(block for block, _ in run.records)
                if not within or not blocks.isdisjoint(within):
                    await chain.read_run(buffer, run)
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
