"""Images: what is planned is found again, and no bytes do any other harm than a Qcow2Error."""

import struct
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.qcow2.errors import Qcow2Error
from reconciler.qcow2.header import Header, pack_header
from reconciler.qcow2.image import Compressed, Data, Image, inflate
from reconciler.qcow2.writer import BLOCK, CLUSTER, Qcow2Layout

SECTOR = 512


def opened(raw: bytes, file_bytes: int | None = None) -> Image:
    return Image(lambda offset, count: raw[offset : offset + count], file_bytes or len(raw))


@st.composite
def layouts(draw: st.DrawFn) -> Qcow2Layout:
    size = draw(st.integers(1, 1200 * BLOCK // SECTOR)) * SECTOR
    count = -(-size // BLOCK)
    return Qcow2Layout(size, draw(st.lists(st.integers(0, count - 1), unique=True, max_size=40)))


@given(layouts())
@settings(deadline=None)
def test_every_block_is_found_where_it_was_planned(layout: Qcow2Layout) -> None:
    metadata = b"".join(layout.metadata())
    assert len(metadata) == layout.metadata_bytes
    image = opened(metadata, layout.total_bytes)
    assert image.size == layout.size
    planned = {
        block * BLOCK + at: layout.data_offset(index) + at
        for index, block in enumerate(layout.blocks)
        for at in range(0, min(BLOCK, layout.size - block * BLOCK), CLUSTER)
    }
    found = {}
    end = 0
    for extent in image.extents():
        assert isinstance(extent, Data)
        assert extent.offset >= end
        end = extent.offset + extent.count
        assert end <= layout.size
        for at in range(0, extent.count, CLUSTER):
            found[extent.offset + at] = extent.file_offset + at
    assert found == planned


@given(layouts())
@settings(deadline=None)
def test_every_cluster_of_the_file_is_counted_once_and_used_once(layout: Qcow2Layout) -> None:
    metadata = b"".join(layout.metadata())
    clusters = layout.total_bytes // CLUSTER
    table = struct.unpack_from(f">{CLUSTER // 8}Q", metadata, CLUSTER)
    counts = b"".join(metadata[at : at + CLUSTER] for at in table if at)
    assert counts == (b"\0\1" * clusters).ljust(len(counts), b"\0")
    used = sorted(
        layout.data_offset(index) + at
        for index in range(len(layout.blocks))
        for at in range(0, layout.data_bytes(index), CLUSTER)
    )
    assert used == list(range(layout.metadata_bytes, layout.total_bytes, CLUSTER))


def extents_within(image: Image) -> None:
    end = 0
    for extent in image.extents():
        assert extent.offset >= end and extent.count > 0
        end = extent.offset + extent.count
        assert end <= image.size
        if isinstance(extent, Compressed):
            assert 0 < extent.file_bytes <= 2 * image.header.cluster_bytes
        if extent.count <= 1 << 21:
            assert len(image.read_extent(extent)) == extent.count


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_header(raw: bytes) -> None:
    for candidate in (raw, b"QFI\xfb\0\0\0\2" + raw, b"QFI\xfb\0\0\0\3" + bytes(8) + raw):
        try:
            header = Header.parse(candidate)
        except Qcow2Error:
            continue
        assert 8 * header.l1_entries_used <= 32 << 20


METADATA = b"".join(Qcow2Layout(520 << 20, [0, 3, 259]).metadata())


@given(st.integers(0, len(METADATA) - 1) | st.integers(0, 103), st.integers(1, 255))
@settings(deadline=None)
def test_a_wrong_byte_is_an_error_or_leads_to_places_within_bounds(at: int, change: int) -> None:
    raw = bytearray(METADATA)
    raw[at] ^= change
    raw += bytes(3 * BLOCK)
    try:
        extents_within(opened(bytes(raw)))
    except Qcow2Error:
        return


@given(
    st.integers(9, 12),
    st.integers(1, 1 << 20),
    st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 64).map(lambda n: n << 12), max_size=64),
)
@settings(deadline=None)
def test_hostile_tables_are_errors_or_lead_to_places_within_bounds(
    cluster_bits: int, size: int, entries: list[int]
) -> None:
    """The first cluster is the header, all others are made of the same wild entries."""
    cluster = 1 << cluster_bits
    span = cluster * cluster // 8
    header = pack_header(
        size=size,
        cluster_bits=cluster_bits,
        l1_offset=cluster,
        l1_entries=-(-size // span),
        refcount_table_offset=0,
        refcount_table_clusters=0,
    )
    table = struct.pack(f">{len(entries)}Q", *entries).ljust(512, b"\0")
    try:
        extents_within(opened(header.ljust(cluster, b"\0") + table * 64))
    except Qcow2Error:
        return


@settings(deadline=None)
@given(st.binary(max_size=2000), st.integers(9, 21))
def test_inflating_gives_a_cluster_or_an_error(raw: bytes, cluster_bits: int) -> None:
    for candidate in (raw, zlib.compress(raw, wbits=-12)):
        try:
            assert len(inflate(candidate, 1 << cluster_bits)) == 1 << cluster_bits
        except Qcow2Error:
            continue


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=512))
def test_what_is_deflated_is_inflated(pattern: bytes) -> None:
    content = (pattern * 512)[:4096].ljust(4096, b"\0")
    assert inflate(zlib.compress(content, wbits=-12) + b"rest", 4096) == content
