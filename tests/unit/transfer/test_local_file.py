"""A local file is complete under its name, or not there."""

import errno
import os

import pytest

from reconciler.transfer.local_file import new_local_file


async def write(path, content=b"content"):
    async with new_local_file(str(path)) as file:
        await file.write([content[:3], content[3:]], 0)
        assert os.path.basename(path) not in os.listdir(os.path.dirname(path) or ".")


async def test_it_appears_at_the_end(tmp_path):
    await write(tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"content"
    assert os.listdir(tmp_path) == ["f"]
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600


async def test_a_path_without_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    await write("f")
    assert os.listdir(tmp_path) == ["f"]


async def test_nothing_appears_after_an_error(tmp_path):
    with pytest.raises(ValueError, match="no"):
        async with new_local_file(str(tmp_path / "f")) as file:
            await file.write([b"x"], 0)
            raise ValueError("no")
    assert os.listdir(tmp_path) == []


async def test_without_hard_links_it_is_renamed(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    await write(tmp_path / "f")
    assert os.listdir(tmp_path) == ["f"]


async def test_without_hard_links_nothing_is_replaced_either(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.ENOTSUP, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(FileExistsError):
        async with new_local_file(str(tmp_path / "f")):
            (tmp_path / "f").write_bytes(b"precious")
    assert (tmp_path / "f").read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["f"]
