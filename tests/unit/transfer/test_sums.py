"""Checksums of blocks: taken as they go by, looked up when they are read again."""

import os
from dataclasses import dataclass, field

import pytest

from reconciler.transfer.sink import DiskHead, Received
from reconciler.transfer.sums import BlockSums, SummingSink, SumTable, sum_of
from reconciler.vhd.layout import BITMAP, BLOCK

ZEROS = bytes(BLOCK)


def sums_of(**blocks: int) -> BlockSums:
    sums = BlockSums()
    for block, checksum in blocks.items():
        sums.add(int(block[1:]), checksum)
    return sums


def test_what_changed_lies_over_what_was() -> None:
    table = SumTable([sums_of(b0=1, b1=2), sums_of(b1=3, b3=4)], 4)
    assert not any(table.differs(*pair) for pair in ((0, 1), (1, 3), (3, 4)))
    assert table.differs(1, 2)
    assert table.differs(3, 1)


def test_of_other_blocks_nothing_is_known() -> None:
    table = SumTable([sums_of(b0=1, b9=1)], 2)
    assert not table.differs(1, 7)
    assert not table.differs(9, 7), "beyond the disk"


def test_a_block_that_held_data_must_be_there() -> None:
    table = SumTable([sums_of(b0=1, b2=sum_of(ZEROS), b3=5)], 4)
    assert table.lacking([0, 3]) is None, "zeros may be left out"
    assert table.lacking([0, 1, 2]) == 3
    assert table.lacking([0, 3, 99]) is None


@dataclass
class Kept:
    """A sink that keeps what it was told."""

    told: list[object] = field(default_factory=list)

    async def begin(self, head: DiskHead) -> None:
        self.told.append(head)

    async def block(self, index: int, record: memoryview, is_zero: bool) -> None:
        self.told.append((index, is_zero, bytes(record[BITMAP : BITMAP + 4])))

    async def end(self) -> Received:
        return Received(1, 2, 3, 4, True)

    async def abort(self) -> None:
        self.told.append("aborted")


@pytest.mark.parametrize("is_delta", [False, True])
async def test_every_block_that_is_kept_is_summed_and_passed_on(is_delta: bool) -> None:
    kept = Kept()
    sink = SummingSink(kept)
    head = DiskHead(3 * BLOCK, is_delta, (0, 2))
    data = os.urandom(BLOCK)
    await sink.begin(head)
    await sink.block(0, memoryview(b"\xff" * BITMAP + data), False)
    await sink.block(2, memoryview(b"\xff" * BITMAP + ZEROS), True)
    assert await sink.end() == Received(1, 2, 3, 4, True)
    await sink.abort()
    assert kept.told == [head, (0, False, data[:4]), (2, True, bytes(4)), "aborted"]
    expected = {0: sum_of(data)} | ({2: sum_of(ZEROS)} if is_delta else {})
    assert dict(sink.sums.items()) == expected, "a full leaves zeros out"
    assert sink.is_delta is is_delta
