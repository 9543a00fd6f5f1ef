import pytest

from reconciler.remotes.errors import Denied, Missing, RemoteError
from reconciler.remotes.open import open_remote


async def test_a_directory_is_opened_and_used(tmp_path):
    remote = await open_remote("cellar", str(tmp_path))
    await remote.put("a/f", b"content")
    assert (tmp_path / "a" / "f").read_bytes() == b"content"
    assert remote.name == "cellar"
    await remote.close()


async def test_a_directory_that_is_not_there_is_never_made(tmp_path):
    with pytest.raises(Missing, match="is it mounted"):
        await open_remote("cellar", str(tmp_path / "share"))
    assert list(tmp_path.iterdir()) == []


async def test_what_is_no_directory_is_refused(tmp_path):
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(RemoteError, match="not a directory"):
        await open_remote("cellar", str(tmp_path / "f"))
    with pytest.raises(RemoteError, match="not an absolute path"):
        await open_remote("cellar", "relative/path")


async def test_opened_for_reading_only_not_even_a_probe_is_written(tmp_path):
    remote = await open_remote("cellar", str(tmp_path), read_only=True)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Denied):
        await remote.put("f", b"")
    assert await remote.list("") == []
    await remote.close()
