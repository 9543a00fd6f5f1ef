"""The sparse contents of the model against plain bytes."""

from hypothesis import given
from hypothesis import strategies as st

from reconciler.remotes.contents import Content, chunk_of, extents_of

SIZE = 64
pieces = st.lists(st.binary(max_size=12), max_size=4)
writes = st.tuples(st.just("write"), st.integers(0, SIZE), pieces)
truncations = st.tuples(st.just("truncate"), st.integers(0, SIZE), st.just([]))
copies = st.tuples(st.just("copy"), st.integers(0, SIZE), st.integers(0, SIZE))


@given(st.lists(st.one_of(writes, truncations, copies), max_size=20), st.integers(0, SIZE))
def test_it_reads_as_bytes_would(steps, offset):
    content, plain = Content(), bytearray()

    def write(at, piece):
        if piece:
            plain.extend(bytes(max(at + len(piece) - len(plain), 0)))
            plain[at : at + len(piece)] = piece

    for kind, at, what in steps:
        if kind == "write":
            extents, count = extents_of(what, at)
            content = content.overlaid(at, count, extents)
            write(at, b"".join(what))
        elif kind == "truncate":
            content = content.truncated(at)
            plain = plain[:at].ljust(at, b"\0")
        else:
            count = min(10, max(content.size - what, 0))
            found = [extent.moved(at - what) for extent in content.range(what, what + count)]
            write(at, bytes(plain[what : what + count]))
            content = content.overlaid(at, count, found)
        assert content.whole() == plain
        assert content.size == len(plain)
        starts = [extent.start for extent in content.extents]
        assert starts == sorted(starts)
    buffer = bytearray(b"\xff" * 20)
    count = content.read_into(memoryview(buffer), offset)
    assert buffer[:count] == plain[offset : offset + 20]
    assert buffer[count:] == b"\xff" * (20 - count)


@given(st.binary(max_size=400), st.binary(max_size=400))
def test_equal_chunks_are_one_and_others_are_not(one, other):
    first, second = chunk_of(one), chunk_of(memoryview(bytearray(other)))
    assert (first is second) == (one == other)
    assert (first.number == second.number) == (one == other)


def test_chunks_that_look_alike_at_the_samples_are_told_apart():
    one, other = bytearray(10_000), bytearray(10_000)
    other[777] = 1
    first, second = chunk_of(one), chunk_of(other)
    assert first is not second
    assert chunk_of(one) is first
    assert chunk_of(other) is second


def test_the_same_writes_have_the_same_key():
    def made():
        return Content().overlaid(0, 8, extents_of([b"abcd", b"efgh"], 0)[0]).truncated(100)

    assert made().key == made().key
    assert made().key != made().truncated(99).key


def test_a_disk_of_a_tebibyte_costs_nothing():
    content = Content().truncated(2**40)
    content = content.overlaid(2**39, 4, extents_of([b"here"], 2**39)[0])
    buffer = bytearray(8)
    assert content.read_into(memoryview(buffer), 2**39 - 2) == 8
    assert buffer == b"\0\0here\0\0"
