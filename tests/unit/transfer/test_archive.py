"""Archives on their way: seen on the remote whole, or not at all."""

import errno
import hashlib

import pytest

from reconciler.lab import xmlrpc
from reconciler.lab.xva_format import END, checksum, member
from reconciler.remotes.errors import Missing, NoSpace
from reconciler.remotes.faults import Fault
from reconciler.transfer.archive import ArchiveSink, CheckedSource, checked_pieces
from reconciler.transfer.archived_disk import write_archived_disk
from reconciler.transfer.fanout import fan_out_bytes
from reconciler.transfer.source import StreamError
from reconciler.xva.errors import XvaCorrupt, XvaError, XvaInvalid, XvaTruncated

MIB = 1 << 20
KEY = "vm/web.xva"


def described(size):
    objects = [{"class": "VM", "id": "Ref:0", "snapshot": {"uuid": "u", "name_label": "web"}}]
    for number in (0, 1):
        vdi = {"uuid": f"00000000-0000-4000-8000-00000000000{number}", "name_label": "same"}
        vbd = {"VDI": f"Ref:{4 + number}", "type": "Disk", "userdevice": str(number)}
        objects.append({"class": "VDI", "id": vbd["VDI"], "snapshot": vdi | {"virtual_size": size}})
        objects.append({"class": "VBD", "id": f"Ref:{8 + number}", "snapshot": vbd})
    return xmlrpc.encode({"version": {}, "objects": objects}).encode()


def archive(chunks=(0, 3, 6)):
    """A VM with two disks of 7 MiB, of which these chunks are there."""
    parts = member("ova.xml", described(7 * MIB))
    for disk in (4, 5):
        for number in chunks:
            content = bytes([disk * 16 + number]) * MIB
            parts += member(f"Ref:{disk}/{number:08d}", content)
            parts += member(f"Ref:{disk}/{number:08d}.checksum", checksum(content))
    return b"".join([*map(bytes, parts), END])


def disk_of(number, chunks=(0, 3, 6)):
    holes = {index: bytes([(4 + number) * 16 + index]) * MIB for index in chunks}
    return b"".join(holes.get(index, bytes(MIB)) for index in range(7))


class Sent:
    """A stream from memory. failure: what the sender says in the end."""

    def __init__(self, content, failure=None):
        self._left = memoryview(content)
        self._failure = failure
        self.aborted = False

    async def read_up_to(self, view):
        count = min(len(view), len(self._left))
        view[:count], self._left = self._left[:count], self._left[count:]
        return count

    async def finish(self):
        if self._failure is not None:
            raise self._failure

    async def abort(self):
        self.aborted = True


async def pieces_of(content, step=300_000):
    view = memoryview(content)
    for start in range(0, len(view), step):
        yield view[start : start + step]


async def send(remote, source):
    sink = ArchiveSink(remote, KEY)
    outcome = (await fan_out_bytes(CheckedSource(source), {"": sink}))[""]
    if isinstance(outcome, Exception):
        raise outcome
    return outcome, sink.md5


async def test_an_archive_arrives_as_it_was_sent(remote):
    content = archive()
    assert await send(remote, Sent(content)) == (
        len(content),
        hashlib.md5(content, usedforsecurity=False).hexdigest(),
    )
    assert await remote.get(KEY, 1 << 30) == content


@pytest.mark.parametrize(
    ("content", "failure", "expected"),
    [
        (archive()[:-1024], None, XvaTruncated),
        (archive()[: 5 * MIB], None, XvaError),
        (archive().replace(b"\x43" * 64, b"\0" * 64, 1), None, XvaCorrupt),
        (archive(), StreamError("the pool failed"), StreamError),
        (archive()[: 5 * MIB], StreamError("the pool failed"), StreamError),
        (b"", None, XvaInvalid),
        (b"<html>", None, XvaError),
    ],
)
async def test_whatever_is_not_whole_is_not_seen(remote, filesystem, content, failure, expected):
    source = Sent(content, failure)
    with pytest.raises(expected):
        await send(remote, source)
    assert source.aborted
    with pytest.raises(Missing):
        await remote.stat(KEY)
    assert not filesystem.paths(), "not even under another name"


async def test_an_archive_of_before_stays_until_the_new_one_is_whole(remote):
    await remote.put(KEY, b"before")
    with pytest.raises(XvaTruncated):
        await send(remote, Sent(archive()[:-512]))
    assert await remote.get(KEY, 100) == b"before"


@pytest.mark.parametrize("at", [2, 3, 5])
async def test_a_remote_that_is_full_says_so(remote, filesystem, at):
    filesystem.fault = Fault(at, errno.ENOSPC, lasting=True)
    with pytest.raises(NoSpace):
        await send(remote, Sent(archive()))
    filesystem.fault = None
    with pytest.raises(Missing):
        await remote.stat(KEY)


async def test_pieces_are_checked_before_they_are_passed_on():
    content = bytearray(archive())
    passed = [bytes(piece) async for piece in checked_pieces(pieces_of(content))]
    assert b"".join(passed) == content
    at = content.index(b"\x43" * 64)
    content[at + MIB // 2] ^= 1
    passed.clear()
    with pytest.raises(XvaCorrupt):
        async for piece in checked_pieces(pieces_of(content)):
            passed.append(bytes(piece))
    assert sum(map(len, passed)) < len(content)
    with pytest.raises(XvaTruncated):
        async for _ in checked_pieces(pieces_of(archive()[:-1024])):
            pass


@pytest.mark.parametrize("wanted", ["1", "00000000-0000-4000-8000-000000000001"])
async def test_a_disk_is_chosen_by_position_or_uuid(tmp_path, wanted):
    path = tmp_path / "disk.raw"
    told, expected = [], []
    await write_archived_disk(
        pieces_of(archive()),
        wanted,
        str(path),
        "raw",
        on_expected=expected.append,
        on_progress=told.append,
    )
    assert path.read_bytes() == disk_of(1)
    assert expected == [7 * MIB]
    assert sum(told) == 7 * MIB


@pytest.mark.parametrize("wanted", ["2", "same", "x"])
async def test_a_disk_that_is_not_there_or_not_one_is_refused(tmp_path, wanted):
    with pytest.raises(XvaInvalid, match=r"its disks: 0 \(same, 0"):
        await write_archived_disk(pieces_of(archive()), wanted, str(tmp_path / "x"), "raw")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file_format", ["raw", "vhd", "qcow2"])
async def test_a_disk_of_a_broken_archive_does_not_appear(tmp_path, file_format):
    """Even if what is broken is another disk, or only the end."""
    damaged = archive().replace(b"\x56" * 64, b"\0" * 64, 1)
    for content in (damaged, archive()[:-1024]):
        with pytest.raises(XvaError):
            await write_archived_disk(pieces_of(content), "0", str(tmp_path / "x"), file_format)
        assert list(tmp_path.iterdir()) == []
