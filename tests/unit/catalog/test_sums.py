"""Checksums beside the points: a chain of their own, believed only if every link is there."""

import json

import pytest
import xxhash

from reconciler.catalog.layout import DiskPath
from reconciler.catalog.sums import SUMS, DiskSums, put_sums, read_table, tidy
from reconciler.transfer.sums import BlockSums


def sums_of(blocks) -> BlockSums:
    sums = BlockSums()
    for block, checksum in blocks.items():
        sums.add(block, checksum)
    return sums


class Chain:
    """Sums of one disk, by position of their stamps."""

    def __init__(self, shelf):
        self.shelf = shelf

    def place(self, number):
        return DiskPath(self.shelf.job, self.shelf.disk, self.shelf.stamps[number])

    def snapshot(self, number):
        return self.shelf.snapshot_of(self.shelf.stamps[number])

    async def put(self, number, blocks, parent=None):
        below = None if parent is None else (self.shelf.stamps[parent], self.snapshot(parent))
        sums = DiskSums(self.snapshot(number), below, sums_of(blocks))
        await put_sums(self.shelf.remote, self.shelf.vm, self.place(number), sums)

    async def table(self, number):
        shelf = self.shelf
        return await read_table(
            shelf.remote, shelf.vm, self.place(number), self.snapshot(number), 8
        )

    def key(self, number):
        place = self.place(number)
        return f"{SUMS}/{self.shelf.vm}/{place.job}/{place.disk}/{place.stamp}.sums"

    def there(self):
        names = [path for path in self.shelf.filesystem.paths() if path.startswith(SUMS)]
        return [self.shelf.stamps.index(name.rpartition("/")[2].split(".")[0]) for name in names]


@pytest.fixture
def sums(shelf):
    return Chain(shelf)


async def test_a_point_is_told_by_its_own_and_those_below(sums):
    await sums.put(0, {0: 10, 1: 11})
    await sums.put(1, {1: 2**64 - 1, 5: 15}, parent=0)
    table = await sums.table(1)
    assert not any(table.differs(*pair) for pair in ((0, 10), (1, 2**64 - 1), (5, 15)))
    assert table.differs(1, 11)
    older = await sums.table(0)
    assert not older.differs(1, 11)
    assert older.lacking([0]) == 1


async def test_where_a_link_is_missing_nothing_is_known(sums):
    await sums.put(1, {1: 1}, parent=0)
    assert await sums.table(1) is None
    assert await sums.table(0) is None


async def test_a_link_of_another_snapshot_is_none(sums):
    await sums.put(0, {0: 1})
    await sums.put(1, {1: 1}, parent=0)
    other = DiskSums(sums.snapshot(2), None, sums_of({0: 9}))
    await put_sums(sums.shelf.remote, sums.shelf.vm, sums.place(0), other)
    assert await sums.table(1) is None


async def test_a_circle_ends(sums):
    await sums.put(0, {0: 1}, parent=1)
    await sums.put(1, {1: 1}, parent=0)
    assert await sums.table(1) is None


def file_of(head, body=b"") -> bytes:
    content = json.dumps(head).encode() + b"\n" + body
    return content + xxhash.xxh3_64_intdigest(content).to_bytes(8, "little")


HEAD = {
    "version": 1,
    "method": "xxh3_64",
    "snapshot": "20260101-0200-0000-0000-000000000001",
    "parent": None,
    "parentSnapshot": None,
    "count": 0,
}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"x" * 100_000,
        file_of(HEAD)[:-1],
        file_of(HEAD)[:-1] + b"!",
        file_of({}),
        file_of([]),
        file_of(HEAD | {"version": 2}),
        file_of(HEAD | {"method": "crc32"}),
        file_of(HEAD | {"count": 1}),
        file_of(HEAD | {"count": 2**62}),
        file_of(HEAD | {"count": -1}),
        file_of(HEAD, b"more"),
        file_of(HEAD | {"parent": "20260101T020000Z"}),
        file_of(HEAD | {"parent": "../../x", "parentSnapshot": HEAD["snapshot"]}),
        file_of(HEAD | {"snapshot": "../x"}),
    ],
)
async def test_what_makes_no_sense_says_nothing(sums, content):
    await sums.shelf.remote.put(sums.key(0), content)
    assert await sums.table(0) is None
    await sums.put(0, {0: 1})
    assert (await sums.table(0)).differs(0, 2)


async def test_what_is_right_in_the_pages_of_the_format_is_read(sums):
    head = HEAD | {"snapshot": sums.snapshot(0), "count": 1}
    body = (3).to_bytes(4, "little") + (77).to_bytes(8, "little")
    await sums.shelf.remote.put(sums.key(0), file_of(head, body))
    table = await sums.table(0)
    assert not table.differs(3, 77)
    assert table.differs(3, 78)


async def test_those_that_no_point_needs_go_and_newer_ones_never(sums):
    stamps = sums.shelf.stamps
    for number in range(6):
        await sums.put(number, {number: 1}, parent=number - 1 if number else None)
    await sums.put(4, {0: 1})  # whole: it needs nothing below
    await tidy(sums.shelf.remote, sums.shelf.vm, sums.place(4), {stamps[2], stamps[4]})
    assert sums.there() == [0, 1, 2, 4, 5], "the third and what it stands on; 5 is newer"
    await tidy(sums.shelf.remote, sums.shelf.vm, sums.place(4), {stamps[4]})
    assert sums.there() == [4, 5]


async def test_without_any_there_is_nothing_to_tidy(sums):
    await tidy(sums.shelf.remote, sums.shelf.vm, sums.place(1), set())
