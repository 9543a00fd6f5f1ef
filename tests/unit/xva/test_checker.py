"""Whole archives pass however they are cut; whatever is missing, damaged or added is found."""

import hashlib
import random
import tarfile

import pytest

from reconciler.xva import decoder
from reconciler.xva.checker import Checked, XvaChecker
from reconciler.xva.compression import Compression
from reconciler.xva.decoder import Chunk
from reconciler.xva.errors import XvaCorrupt, XvaError, XvaInvalid, XvaTruncated

MIB = 1 << 20
HEAD = 512


def check(content: bytes, step: int = 1 << 20) -> Checked:
    checker = XvaChecker()
    for start in range(0, len(content), step):
        checker.feed(content[start : start + step])
    return checker.finish()


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("step", [997, 4096, 1 << 20, 1 << 30])
def test_a_whole_archive_passes_however_it_is_cut(archive, compression, step, pack):
    content = archive.render()
    stream = pack(content, compression)
    checked = check(stream, step)
    assert checked.compression is compression
    assert checked.stream_bytes == len(stream)
    seen = checked.seen
    assert seen.archive_bytes == len(content)
    assert (seen.chunks, seen.unverified) == (4, 0)
    assert seen.data_bytes == 2 * MIB + 512 + MIB - 512
    assert seen.description.vm_name == "web & co"
    assert [(disk.ref, disk.virtual_bytes, disk.position) for disk in seen.description.disks] == [
        ("Ref:10", 5 * MIB + 512, "0"),
        ("Ref:7", MIB - 512, "1"),
    ]


def test_chunks_come_out_where_they_belong(archive):
    members = dict(archive.members)
    disks = {"Ref:10": bytearray(5 * MIB + 512), "Ref:7": bytearray(MIB - 512)}
    checker = XvaChecker()
    content = archive.render()
    for start in range(0, len(content), 10_007):
        for event in checker.events(content[start : start + 10_007]):
            if isinstance(event, Chunk):
                end = event.offset + len(event.content)
                disks[event.disk.ref][event.offset : end] = event.content
    checker.finish()
    hole = bytes(2 * MIB)
    first, fourth = members["Ref:10/00000000"], members["Ref:10/00000003"]
    assert disks["Ref:10"] == first + hole + fourth + bytes(MIB) + members["Ref:10/00000005"]
    assert disks["Ref:7"] == members["Ref:7/00000000"]


@pytest.mark.parametrize("compression", Compression)
def test_a_stream_that_is_cut_off_anywhere_is_found_out(archive, compression, pack):
    stream = pack(archive.render(), compression)
    places = {0, 1, 3, HEAD, 2 * HEAD, len(stream) - 1, len(stream) - 512, len(stream) - 513}
    chosen = random.Random(4)
    places |= {chosen.randrange(len(stream)) for _ in range(60)}
    for place in sorted(places):
        with pytest.raises(XvaError):
            check(stream[:place])


def test_an_archive_that_ends_well_between_members_is_still_cut_off(archive):
    """What a truncation would look like if somebody had put an end to it."""
    for count in range(len(archive.members)):
        cut = type(archive)(archive.members[:count])
        with pytest.raises(XvaError):
            check(cut.render())
    assert check(type(archive)(archive.members).render())


def test_damage_anywhere_in_a_chunk_is_found(archive):
    content = bytearray(archive.render())
    at = content.index(dict(archive.members)["Ref:10/00000003"][:64])
    for offset in (0, 1000, MIB - 1):
        content[at + offset] ^= 1
        with pytest.raises(XvaCorrupt, match="Ref:10/00000003: is not what its checksum says"):
            check(bytes(content))
        content[at + offset] ^= 1
    assert check(bytes(content))


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.ZSTD])
def test_damage_in_what_is_compressed_is_found(archive, compression, pack):
    stream = bytearray(pack(archive.render(), compression))
    for at in range(10, len(stream), len(stream) // 40):  # before it: when, where and by whom
        stream[at] ^= 0xFF
        with pytest.raises(XvaError):
            check(bytes(stream))
        stream[at] ^= 0xFF


@pytest.mark.parametrize("compression", Compression)
def test_nothing_may_follow_the_end(archive, compression, pack):
    stream = pack(archive.render(), compression)
    with pytest.raises(XvaError):
        check(stream + b"x" * 600)
    with pytest.raises(XvaError):
        check(stream + stream)
    archive.end = bytes(1024) + bytes(1 << 20)
    with pytest.raises(XvaInvalid, match="goes on after its end"):
        check(pack(archive.render(), compression))


def test_tar_programs_fill_up_with_zeros(archive):
    archive.end = bytes(10240)
    assert check(archive.render())


def test_old_hosts_write_heads_without_a_magic(archive):
    archive.form = tarfile.GNU_FORMAT
    content = archive.render().replace(b"ustar  \0", bytes(8))
    with pytest.raises(XvaInvalid):  # the checksums of the heads are wrong now
        check(content)
    assert check(archive.render())


def test_signs_of_life_are_no_data(archive):
    """The next real chunk has the next number, and goes where it would have gone."""
    at = archive.index("Ref:10/00000003")
    data = dict(archive.members)["Ref:10/00000003"]
    del archive.members[at : at + 4]
    tail = archive.members[at:]
    del archive.members[at:]
    for number, content in ((1, b""), (2, b""), (5, data), (7, b"\1" * 512)):
        archive.add(f"Ref:10/{number:08d}", content)
    archive.members += tail
    checker = XvaChecker()
    found = [event for event in checker.events(archive.render()) if isinstance(event, Chunk)]
    assert [each.offset for each in found][:3] == [0, 3 * MIB, 5 * MIB]
    assert checker.finish().seen.chunks == 4


def _replaced(archive, name, new_name=None, content=None):
    at = archive.index(name)
    old, was = archive.members[at]
    archive.members[at] = (new_name or old, was if content is None else content)
    return archive.render()


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("ova.xml", {"new_name": "disk.xml"}, "comes first instead of ova.xml"),
        ("ova.xml", {"content": b""}, "has 0 bytes"),
        ("ova.xml", {"content": b"not xml"}, "not XML"),
        ("ova.xml", {"content": b"<value>1</value>"}, "describes no VM"),
        ("Ref:10/00000000", {"new_name": "Ref:10/00000001"}, "begins its disk"),
        ("Ref:10/00000000", {"new_name": "Ref:11/00000000"}, "knows no such disk"),
        ("Ref:10/00000000", {"new_name": "../etc/passwd"}, "is no part of a disk"),
        ("Ref:10/00000000", {"new_name": "Ref:10/0"}, "is no part of a disk"),
        ("Ref:10/00000003", {"new_name": "Ref:10/00000000"}, "comes after a higher number"),
        ("Ref:10/00000003", {"new_name": "Ref:10/99999999"}, "of a disk of"),
        ("Ref:10/00000003", {"content": bytes(512)}, "of a disk of"),
        ("Ref:10/00000005", {"content": bytes(1024)}, "of a disk of"),
        ("Ref:10/00000003.checksum", {"content": b"0" * 39}, "has 39 bytes"),
        ("Ref:10/00000003.checksum", {"content": b"0" * 40}, "is not what its checksum says"),
        ("Ref:10/00000003.checksum", {"new_name": "Ref:10/00000004.checksum"}, "not the checksum"),
        ("Ref:10/00000003.checksum", {"new_name": "Ref:10/00000003.md5"}, "not the checksum"),
        ("Ref:10/00000003.checksum", {"new_name": "Ref:10/00000004"}, "has no checksum"),
        ("Ref:7/00000000.checksum", {"new_name": "Ref:7/00000000"}, "has no checksum"),
    ],
)
def test_what_is_not_as_it_must_be_is_refused(archive, name, change, complaint):
    with pytest.raises(XvaError, match=complaint):
        check(_replaced(archive, name, **change))


def test_a_chunk_needs_its_checksum_even_at_the_end(archive):
    archive.members.pop()
    with pytest.raises(XvaInvalid, match="Ref:7/00000000: has no checksum"):
        check(archive.render())


def test_a_disk_is_not_taken_up_again(archive):
    archive.members = [*archive.members[:1], *archive.members[1:7], *archive.members[7:]]
    late = archive.members[5:7]
    archive.members = [*archive.members[:5], *archive.members[7:], *late]
    with pytest.raises(XvaTruncated, match="Ref:10: only 4194304 of its 5243392 bytes came"):
        check(archive.render())


def test_a_disk_that_never_comes_is_missed(archive):
    archive.members = archive.members[:-2]
    with pytest.raises(XvaTruncated, match="Ref:7: nothing of this disk came"):
        check(archive.render())


def test_one_record_of_zeros_is_no_end(archive):
    archive.end = bytes(512)
    with pytest.raises(XvaTruncated):
        check(archive.render())
    whole = archive.render()
    with pytest.raises(XvaInvalid, match="goes on after its end"):
        check(whole + whole[:512])


def test_newer_checksums_are_checked_where_their_library_is(archive, monkeypatch):
    class Fake:
        def __init__(self) -> None:
            self._hash = hashlib.blake2b(digest_size=8)

        def update(self, content) -> None:
            self._hash.update(content)

        def hexdigest(self) -> str:
            return self._hash.hexdigest()

    for at, (name, _) in enumerate(archive.members):
        if name.endswith(".checksum"):
            chunk = archive.members[at - 1][1]
            said = hashlib.blake2b(chunk, digest_size=8).hexdigest().upper().encode()
            archive.members[at] = (name.replace(".checksum", ".xxhash"), said)
    content = archive.render()
    monkeypatch.setattr(decoder, "XXH64", None)
    assert check(content).seen.unverified == 4
    monkeypatch.setattr(decoder, "XXH64", Fake)
    assert check(content).seen.unverified == 0
    _, chunk = archive.members[1]
    archive.members[1] = ("Ref:10/00000000", b"\0" + chunk[1:])
    with pytest.raises(XvaCorrupt):
        check(archive.render())


# ── hostile ──────────────────────────────────────────────────────────────────────────────────────


def test_a_description_that_would_not_fit_is_refused_unread():
    head = tarfile.TarInfo("ova.xml")
    head.size = 1 << 32
    with pytest.raises(XvaInvalid, match="has 4294967296 bytes"):
        check(head.tobuf(tarfile.USTAR_FORMAT))


def test_long_names_and_links_are_refused(archive):
    long = tarfile.TarInfo("Ref:10/" + "0" * 150)
    long.size = 10
    pax = long.tobuf(tarfile.PAX_FORMAT)
    link = tarfile.TarInfo("Ref:10/00000000")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    start = type(archive)(archive.members[:1], end=b"").render()
    for head in (pax, link.tobuf(), long.tobuf(tarfile.GNU_FORMAT)):
        with pytest.raises(XvaInvalid, match=r"no plain file with a short name|no part of a disk"):
            check(start + head)


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.ZSTD])
def test_a_bomb_is_unpacked_in_small_steps_and_no_further_than_its_first_member(
    compression, monkeypatch, pack
):
    bomb = pack(bytes(200 * MIB), compression)
    assert len(bomb) < MIB
    largest = []
    feed = decoder.XvaDecoder.feed

    def watched(self, piece):
        largest.append(len(piece))
        return feed(self, piece)

    monkeypatch.setattr(decoder.XvaDecoder, "feed", watched)
    with pytest.raises(XvaInvalid, match=r"no ova\.xml"):
        check(bomb)
    assert sum(largest) <= 2 * MIB


@pytest.mark.parametrize(
    "text",
    [
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><value>&b;</value>",
        "<!DOCTYPE a><value/>".encode("utf-16"),
        b"<value>" * 1000,
        b"<name>a</name>",
        b"<struct/>",
        b"<member/>",
        b"<value><struct><value/></struct></value>",
        b"<value><struct><member><name>objects</name><value><array><data><value>1</value>"
        b"</data></array></value></member></struct></value>",
    ],
)
def test_a_description_that_is_none_is_refused(archive, text):
    with pytest.raises(XvaInvalid, match=r"ova\.xml"):
        check(_replaced(archive, "ova.xml", content=text))


@pytest.mark.parametrize("size", ["", "0", "-1", "1e9", "9" * 40, "١٢"])
def test_a_disk_without_a_size_is_refused(archive, size, describe):
    content = describe({"Ref:10": 0}).replace(
        b"<name>virtual_size</name><value>0</value>",
        f"<name>virtual_size</name><value>{size}</value>".encode(),
    )
    with pytest.raises(XvaInvalid, match="Ref:10 has the size"):
        check(_replaced(archive, "ova.xml", content=content))
