"""Nothing is changed by whoever may not, at whichever moment that begins."""

import pytest

from reconciler.remotes.errors import NotPermitted
from reconciler.remotes.fenced import FencedRemote
from reconciler.remotes.file import FileRemote
from reconciler.remotes.memory import MemoryFilesystem
from reconciler.remotes.remote import Move


class Ground:
    """A fenced remote, and all that reaches the file system below it."""

    def __init__(self):
        self.filesystem = MemoryFilesystem()
        self.leads = True

    async def open(self):
        inner = await FileRemote.attach("cellar", self.filesystem, threads=None)
        return FencedRemote(inner, lambda: self.leads)

    def depose(self):
        self.leads = False
        self.filesystem.calls.clear()

    @property
    def changes(self):
        return [call for call in self.filesystem.calls if call.changes]


@pytest.fixture
def ground():
    return Ground()


async def prepared(ground):
    remote = await ground.open()
    await remote.put("vm/point.json", b"{}")
    await remote.make_directory("vm/empty")
    async with remote.create("vm/disk.vhd.partial") as file:
        await file.write([b"disk"], 0)
        await file.sync()
    return remote


CHANGES = {
    "put": lambda remote: remote.put("vm/point.json", b"late"),
    "put_new": lambda remote: remote.put_new("vm/new.json", b"late"),
    "publish": lambda remote: remote.publish("vm/disk.vhd.partial", "vm/disk.vhd"),
    "copy": lambda remote: remote.copy("vm/point.json", "vm/copy.json"),
    "delete": lambda remote: remote.delete("vm/point.json"),
    "make_directory": lambda remote: remote.make_directory("vm/other"),
    "remove_directory": lambda remote: remote.remove_directory("vm/empty"),
    "touch": lambda remote: remote.touch("vm"),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_that_comes_late_is_refused_before_it_reaches_anything(ground, name):
    remote = await prepared(ground)
    ground.depose()
    with pytest.raises(NotPermitted, match="another operator leads"):
        await CHANGES[name](remote)
    assert ground.changes == []


async def test_an_upload_that_was_begun_in_time_is_not_published(ground):
    remote = await prepared(ground)
    with pytest.raises(NotPermitted):
        async with remote.upload("vm/archive.xva") as upload:
            await upload.write(b"first half")
            ground.depose()
    assert "vm/archive.xva" not in {f"vm/{entry.name}" for entry in await remote.list("vm")}


async def test_an_upload_does_not_go_on(ground):
    remote = await prepared(ground)
    with pytest.raises(NotPermitted):
        async with remote.upload("vm/archive.xva") as upload:
            ground.depose()
            await upload.write(b"first half")
    assert not any(call.count for call in ground.changes)  # what was begun is put away


FILE_CHANGES = {
    "write": lambda file: file.write([b"late"], 0),
    "truncate": lambda file: file.truncate(0),
    "move": lambda file: file.move([Move(file, 0, 4096, 4)]),
    "clone_whole": lambda file: file.clone_whole(file),
}


@pytest.mark.parametrize("name", FILE_CHANGES)
async def test_a_file_that_was_opened_in_time_is_not_written_to(ground, name):
    remote = await prepared(ground)
    async with remote.open("vm/disk.vhd.partial", write=True) as file:
        ground.depose()
        with pytest.raises(NotPermitted):
            await FILE_CHANGES[name](file)
        assert ground.changes == []
        assert await file.read(0, 4) == b"disk"


async def test_reading_goes_on(ground):
    remote = await prepared(ground)
    ground.depose()
    assert await remote.get("vm/point.json", 10) == b"{}"
    async with remote.download("vm/point.json") as pieces:
        assert b"".join([bytes(piece) async for piece in pieces]) == b"{}"
    assert [entry.name for entry in await remote.list("vm")]
    with pytest.raises(NotPermitted):
        async with remote.open("vm/point.json", write=True):
            pass
