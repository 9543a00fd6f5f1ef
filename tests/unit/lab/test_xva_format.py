"""The XVA container: checksums by their published vectors, tars by Python's own reader."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.lab import xva_format


@pytest.mark.parametrize(
    ("content", "digest"),
    [
        (b"", b"EF46DB3751D8E999"),
        (b"a", b"D24EC4F1A98C6E5B"),
        (b"abc", b"44BC2CF5AD770999"),
        (b"Nobody inspects the spammish repetition", b"FBCEA83C8A378BF1"),
    ],
)
def test_xxhash64(content: bytes, digest: bytes) -> None:
    assert xva_format.xxhash64(content) == digest
    assert xva_format.verify("xxhash", content, digest.lower())
    assert not xva_format.verify("xxhash", content + b"x", digest)


def test_sha1() -> None:
    assert xva_format.checksum(b"abc") == b"a9993e364706816aba3e25717850c26c9cd0d89d"
    assert xva_format.verify("checksum", b"abc", b"a9993e364706816aba3e25717850c26c9cd0d89d\n")


FILES = st.lists(st.tuples(st.from_regex(r"\ARef:\d{1,5}/\d{8}\Z"), st.binary(max_size=2000)))


@given(FILES)
def test_python_reads_our_tar_and_we_read_pythons(files: list[tuple[str, bytes]]) -> None:
    parts = [bytes(part) for name, content in files for part in xva_format.member(name, content)]
    ours = b"".join(parts) + xva_format.END
    with tarfile.open(fileobj=io.BytesIO(ours)) as archive:
        read = []
        for entry in archive:
            extracted = archive.extractfile(entry)
            assert extracted is not None
            read.append((entry.name, extracted.read()))
    assert read == files
    assert list(xva_format.members(io.BytesIO(ours))) == files


def test_what_is_no_tar() -> None:
    with pytest.raises(xva_format.XvaError) as caught:
        list(xva_format.members(io.BytesIO(b"x" * 512)))
    assert caught.value.code == "IMPORT_ERROR"
    whole = b"".join(bytes(part) for part in xva_format.member("ova.xml", b"x" * 600))
    for cut in (0, 100, 512, 900, len(whole)):
        with pytest.raises(xva_format.XvaError) as caught:
            list(xva_format.members(io.BytesIO(whole[:cut])))
        assert caught.value.code == "IMPORT_ERROR_PREMATURE_EOF"
    huge = tarfile.TarInfo("ova.xml")
    huge.size = 1 << 40
    with pytest.raises(xva_format.XvaError) as caught:
        list(xva_format.members(io.BytesIO(huge.tobuf(tarfile.GNU_FORMAT))))
    assert caught.value.code == "IMPORT_ERROR"
