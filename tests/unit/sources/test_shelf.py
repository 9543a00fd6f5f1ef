import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.desired.state import Desired
from reconciler.sources import shelf as shelf_module
from reconciler.sources.scan import take_reading
from reconciler.sources.shelf import Shelf

Write = Callable[[Path, int], None]


class Directory:
    """A directory of manifests and a shelf that has read it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shelf = Shelf()
        self._look = None

    def read(self) -> Desired:
        reading = take_reading([str(self.root)], self._look)
        self._look = reading.look
        return self.shelf.put(reading)


@pytest.fixture
def directory(tmp_path: Path, write: Write) -> Directory:
    for name in ("a", "b", "sub/c"):
        write(tmp_path / "jobs" / f"{name}.yaml", 1)
    directory = Directory(tmp_path / "jobs")
    assert set(directory.read().remotes) == {"a", "b", "c"}
    return directory


def test_a_deleted_file_takes_its_objects_with_it(directory: Directory) -> None:
    (directory.root / "a.yaml").unlink()
    desired = directory.read()
    assert set(desired.remotes) == {"b", "c"}
    assert desired.problems == ()


def test_so_does_a_deleted_directory_below(directory: Directory) -> None:
    shutil.rmtree(directory.root / "sub")
    assert set(directory.read().remotes) == {"a", "b"}


def test_a_directory_that_is_gone_takes_nothing_with_it(directory: Directory, write: Write) -> None:
    shutil.move(directory.root, directory.root.with_name("away"))
    for _ in range(3):
        desired = directory.read()
        assert set(desired.remotes) == {"a", "b", "c"}
        (problem,) = desired.problems
        assert problem.path == str(directory.root)
    shutil.move(directory.root.with_name("away"), directory.root)
    desired = directory.read()
    assert set(desired.remotes) == {"a", "b", "c"}
    assert desired.problems == ()


@pytest.mark.parametrize("content", [b"\xff", b"kind: [", b"", b"\x00", b"- a"])
def test_a_file_that_cannot_be_understood_keeps_its_objects(
    directory: Directory, content: bytes
) -> None:
    (directory.root / "a.yaml").write_bytes(content)
    desired = directory.read()
    assert set(desired.remotes) == {"a", "b", "c"}
    assert [problem.path for problem in desired.problems] == [str(directory.root / "a.yaml")]


def test_so_does_one_that_cannot_be_read(directory: Directory) -> None:
    (directory.root / "a.yaml").unlink()
    (directory.root / "a.yaml").symlink_to("gone.yaml")
    desired = directory.read()
    assert set(desired.remotes) == {"a", "b", "c"}
    assert len(desired.problems) == 1


def test_and_one_that_became_a_link_out(directory: Directory) -> None:
    (directory.root / "a.yaml").unlink()
    (directory.root / "a.yaml").symlink_to("/etc/hostname")
    desired = directory.read()
    assert set(desired.remotes) == {"a", "b", "c"}
    assert "symbolic link" in desired.problems[0].message


def test_a_renamed_file_changes_nothing(directory: Directory) -> None:
    before = directory.read()
    (directory.root / "a.yaml").rename(directory.root / "sub" / "z.yaml")
    assert directory.read() == before


def test_a_file_that_did_not_change_is_not_parsed_again(
    directory: Directory, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = []
    real_parse = shelf_module.parse_file

    def note(path: str, content: bytes) -> object:
        parsed.append(Path(path).name)
        return real_parse(path, content)

    monkeypatch.setattr(shelf_module, "parse_file", note)
    write(directory.root / "b.yaml", 2)
    directory.read()
    assert parsed == ["b.yaml"]
