import contextlib
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.xapi.errors import StreamBroken
from reconciler.xapi.framing import Chunked, Length, Unread, UntilClose


def feed_of(content, step=1 << 20):
    source = io.BytesIO(content)
    return lambda view: source.readinto(view[:step])


def read_all(framing, feed, view_bytes=7):
    got = bytearray()
    while True:
        view = memoryview(bytearray(view_bytes))
        count = framing.read_into(view, feed)
        if count == 0:
            return bytes(got)
        got += view[:count]


def chunked(content, sizes):
    out, at = bytearray(), 0
    for size in sizes:
        piece = content[at : at + size]
        if piece:
            out += b"%x;ext=1\r\n" % len(piece) + piece + b"\r\n"
        at += size
    if content[at:]:
        out += b"%X\r\n" % len(content[at:]) + content[at:] + b"\r\n"
    return bytes(out + b"0\r\nTrailer: x\r\n\r\n")


@settings(deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(1, 50)), st.integers(1, 9), st.integers(1, 9))
def test_any_chunking_gives_the_same_body(content, sizes, step, view_bytes):
    wire = chunked(content, sizes)
    assert read_all(Chunked(), feed_of(wire, step), view_bytes) == content


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(1, 9))
def test_a_length_ends_the_body_and_leaves_the_rest(content, step):
    feed = feed_of(content + b"more", step)
    assert read_all(Length(len(content)), feed) == content
    assert read_all(UntilClose(), feed) == b"more"


def test_a_body_shorter_than_its_length_is_broken():
    with pytest.raises(StreamBroken, match="3 bytes"):
        read_all(Length(5), feed_of(b"ab"))


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"5\r\nab",
        b"5\r\nabcde",
        b"x\r\nab",
        b"-1\r\n",
        b"0x5\r\nabcde\r\n0\r\n\r\n",
        b"+5\r\nabcde\r\n0\r\n\r\n",
        b"2\r\nabXX\r\n0\r\n\r\n",
        b"f" * 17 + b"\r\n",
        b"\r\n",
        b"1" * 10_000,
        b"0\r\n" + b"a: b\r\n" * 100,
    ],
)
def test_malformed_chunks_are_broken(wire):
    with pytest.raises(StreamBroken):
        read_all(Chunked(), feed_of(wire))


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(wire):
    with contextlib.suppress(StreamBroken):
        read_all(Chunked(), feed_of(wire))


def test_what_was_looked_at_comes_first():
    assert read_all(Unread(b"abcdefghij", UntilClose()), feed_of(b"klm"), 4) == b"abcdefghijklm"
