"""Images built by hand, cluster by cluster, and read."""

import struct
import zlib

import pytest

from reconciler.qcow2.errors import Qcow2Invalid, Qcow2Truncated
from reconciler.qcow2.header import pack_header
from reconciler.qcow2.image import Compressed, Data, Image, inflate

CLUSTER = 65536
COPIED = 1 << 63
SIZE = 8192 * CLUSTER + 512  # a second L2 table for the last sector


def cluster(number: int) -> bytes:
    return bytes([number]) * CLUSTER


def deflate(content: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-12)
    return squeeze.compress(content) + squeeze.flush()


def compressed_entry(file_offset: int, file_bytes: int) -> int:
    offset_bits = 62 - (16 - 8)
    sectors = (file_offset % 512 + file_bytes - 1) // 512
    return 1 << 62 | sectors << offset_bits | file_offset


def image_of(l1: list[int], l2: dict[int, int], *clusters: bytes) -> Image:
    """Header, L1 in cluster 1, one L2 table in cluster 2, then the given clusters from 3 on."""
    header = pack_header(
        size=SIZE,
        cluster_bits=16,
        l1_offset=CLUSTER,
        l1_entries=2,
        refcount_table_offset=0,
        refcount_table_clusters=0,
    )
    table = [l2.get(index, 0) for index in range(8192)]
    raw = b"".join(
        (
            header.ljust(CLUSTER, b"\0"),
            struct.pack(">2Q", *l1).ljust(CLUSTER, b"\0"),
            struct.pack(">8192Q", *table),
            *clusters,
        )
    )
    return Image(lambda offset, count: raw[offset : offset + count], len(raw))


L2_AT = 2 * CLUSTER | COPIED


def test_neighbours_are_joined() -> None:
    image = image_of(
        [L2_AT, 0],
        {
            1: 3 * CLUSTER | COPIED,
            2: 4 * CLUSTER | COPIED,
            3: 3 * CLUSTER,  # not after the one before in the file
            5: 4 * CLUSTER,  # not after the one before on the disk
        },
        cluster(1),
        cluster(2),
    )
    extents = list(image.extents())
    assert extents == [
        Data(CLUSTER, 2 * CLUSTER, 3 * CLUSTER),
        Data(3 * CLUSTER, CLUSTER, 3 * CLUSTER),
        Data(5 * CLUSTER, CLUSTER, 4 * CLUSTER),
    ]
    assert image.read_extent(extents[0]) == cluster(1) + cluster(2)
    assert image.size == SIZE


def test_zero_clusters_are_left_out_even_if_they_are_allocated() -> None:
    image = image_of([L2_AT, 0], {0: 1, 1: 3 * CLUSTER | COPIED | 1}, cluster(1))
    assert list(image.extents()) == []


def test_compressed_clusters() -> None:
    packed = [deflate(cluster(7)), deflate(bytes(range(256)) * 256)]
    second_at = 3 * CLUSTER + len(packed[0])
    image = image_of(
        [L2_AT, 0],
        {
            0: 4 * CLUSTER | COPIED,
            1: compressed_entry(3 * CLUSTER, len(packed[0])),
            2: compressed_entry(second_at, len(packed[1])),
            3: 4 * CLUSTER | COPIED,
        },
        b"".join(packed).ljust(CLUSTER, b"\xee"),
        cluster(1),
    )
    plain, first, second, last = image.extents()
    assert isinstance(first, Compressed) and isinstance(second, Compressed)
    assert (first.offset, first.file_offset) == (CLUSTER, 3 * CLUSTER)
    assert second.file_offset == second_at
    assert image.read_extent(plain) == image.read_extent(last) == cluster(1)
    assert image.read_extent(first) == cluster(7)
    assert image.read_extent(second) == bytes(range(256)) * 256


def test_the_last_cluster_ends_with_the_disk() -> None:
    image = image_of([0, L2_AT], {0: 3 * CLUSTER, 1: 3 * CLUSTER}, cluster(1))
    extents = list(image.extents())
    assert extents == [Data(8192 * CLUSTER, 512, 3 * CLUSTER)]
    assert image.read_extent(extents[0]) == bytes([1]) * 512


def test_a_compressed_last_cluster_ends_with_the_disk() -> None:
    packed = deflate(cluster(1))
    image = image_of([0, L2_AT], {0: compressed_entry(3 * CLUSTER, len(packed))}, packed)
    (extent,) = image.extents()
    assert image.read_extent(extent) == bytes([1]) * 512


def test_a_file_may_end_within_its_last_cluster() -> None:
    image = image_of([L2_AT, 0], {0: 3 * CLUSTER}, b"\1" * 1000)
    (extent,) = image.extents()
    assert image.read_extent(extent) == (b"\1" * 1000).ljust(CLUSTER, b"\0")


@pytest.mark.parametrize(
    ("l1", "l2", "kind", "what"),
    [
        (99 * CLUSTER, 0, Qcow2Truncated, "a table at byte"),
        (2 * CLUSTER + 512, 0, Qcow2Invalid, "l1: entry 0 is not a cluster"),
        (L2_AT, 3 * CLUSTER + 512, Qcow2Invalid, "l2"),
        (L2_AT, 3 * CLUSTER, Qcow2Truncated, "beyond the end"),
        (L2_AT, compressed_entry(3 * CLUSTER, 10), Qcow2Truncated, "beyond the end"),
    ],
)
def test_tables_that_point_nowhere_are_refused(
    l1: int, l2: int, kind: type[Exception], what: str
) -> None:
    image = image_of([l1, 0], {0: l2})
    with pytest.raises(kind, match=what):
        list(image.extents())


@pytest.mark.parametrize(
    "raw",
    [b"", b"\xff" * 100, deflate(cluster(1))[:-10], deflate(bytes(CLUSTER - 1))],
)
def test_what_does_not_inflate_to_a_cluster_is_refused(raw: bytes) -> None:
    with pytest.raises(Qcow2Invalid, match="l2"):
        inflate(raw, CLUSTER)


def test_inflating_stops_at_a_cluster() -> None:
    bomb = deflate(bytes(64 << 20))
    assert inflate(bomb, CLUSTER) == bytes(CLUSTER)
