import gzip
import json

import pytest

from reconciler.catalog import cache, layout
from reconciler.ids import Stamp, VmUuid
from reconciler.remotes.errors import RemoteError
from reconciler.remotes.faults import Fault

VM = VmUuid("11111111-2222-3333-4444-555555555555")
STAMP = Stamp("20260101T020000Z")


def test_entries_have_xen_orchestras_keys_and_additions():
    key = f"/xo-vm-backups/{VM}/20260101T020000Z.json"
    assert cache.entry_key(VM, STAMP) == key
    assert cache.entry_of(VM, STAMP, b'{"mode":"delta"}') == {
        "mode": "delta",
        "_filename": key,
        "id": key,
        "isImmutable": False,
    }


def test_what_is_rendered_is_gzip_and_parses():
    entries = {"/a": {"x": 1}}
    assert json.loads(gzip.decompress(cache.render(entries))) == entries
    assert cache.parse(cache.render(entries)) == entries
    assert cache.render(entries) == cache.render(entries), "no time of day in it"


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"no gzip",
        gzip.compress(b"no json", mtime=0),
        gzip.compress(b"[]", mtime=0),
        gzip.compress(b"[" * 100_000, mtime=0),
        gzip.compress(b"{}", mtime=0)[:-9],
    ],
)
def test_anything_else_is_no_cache(packed):
    assert cache.parse(packed) is None


def test_a_bomb_is_not_unpacked():
    assert cache.parse(gzip.compress(b" " * (cache.BYTES_MAX + 10) + b"{}")) is None


async def test_it_is_gone_before_anything_changes(shelf):
    await shelf.remote.put(layout.cache_key(VM), cache.render({"/a": 1}))
    assert await cache.take_away(shelf.remote, VM) == {"/a": 1}
    assert shelf.filesystem.paths() == []
    assert await cache.take_away(shelf.remote, VM) is None


async def test_one_that_is_too_large_or_unreadable_is_removed(shelf):
    for content in (b"rubbish", b"x" * (cache.PACKED_BYTES_MAX + 1)):
        await shelf.remote.put(layout.cache_key(VM), content)
        assert await cache.take_away(shelf.remote, VM) is None
        assert shelf.filesystem.paths() == []


async def test_one_that_cannot_be_removed_stops_everything(shelf):
    await shelf.remote.put(layout.cache_key(VM), cache.render({}))
    shelf.filesystem.fault = Fault(len(shelf.filesystem.calls), 5, lasting=True)
    with pytest.raises(RemoteError):
        await cache.take_away(shelf.remote, VM)
