"""Compressed streams: whatever goes in comes out, in any pieces."""

import gzip
import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.lab.compression import GzipSink, PlainSink, Sink, Source, ZstdSink, has_zstd

KINDS = [PlainSink, GzipSink, ZstdSink] if has_zstd() else [PlainSink, GzipSink]


def compressed(kind: type[PlainSink | GzipSink | ZstdSink], pieces: list[bytes]) -> bytes:
    out = io.BytesIO()
    sink: Sink = kind(out.write)
    for piece in pieces:
        sink.write(piece)
    sink.finish()
    return out.getvalue()


def read_all(stream: bytes, step: int) -> bytes:
    source = Source(io.BytesIO(stream).read)
    try:
        whole = b""
        while piece := source.read(step):
            whole += piece
        return whole
    finally:
        source.close()


@settings(max_examples=15, deadline=None)
@given(st.lists(st.binary(max_size=5000), max_size=5), st.integers(1, 4000))
def test_round_trip(pieces: list[bytes], step: int) -> None:
    # four bytes decide what a stream is, so every stream here begins like a tar
    whole = [b"ova.xml", *pieces]
    for kind in KINDS:
        assert read_all(compressed(kind, whole), step) == b"".join(whole)


def test_gzip_of_others() -> None:
    content = random.Random(1).randbytes(1 << 20)
    assert read_all(gzip.compress(content), 100_000) == content
    assert gzip.decompress(compressed(GzipSink, [content])) == content


def test_a_cut_stream_ends_early() -> None:
    content = random.Random(1).randbytes(1 << 16)
    cut = gzip.compress(content)[:30_000]
    assert len(read_all(cut, 1000)) < len(content)


@pytest.mark.skipif(not has_zstd(), reason="needs zstd")
def test_a_reader_that_went_away_is_an_error() -> None:
    def send(data: bytes | memoryview) -> None:
        raise BrokenPipeError

    sink = ZstdSink(send)
    chance = random.Random(1)
    with pytest.raises(OSError):
        for _ in range(100):
            sink.write(chance.randbytes(1 << 20))
    sink.abandon()
