import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.desired.problems import Problem
from reconciler.sources import scan
from reconciler.sources.documents import FILE_BYTES_MAX
from reconciler.sources.scan import DEPTH_MAX, look_at, take_reading

Write = Callable[[Path, int], None]


def found(*roots: Path) -> set[str]:
    return set(look_at([str(root) for root in roots]).files)


class TestWhatIsFound:
    def test_yaml_in_directories_below_and_nothing_hidden(
        self, tmp_path: Path, write: Write
    ) -> None:
        for name in ("a.yaml", "b.yml", "deep/er/c.yaml"):
            write(tmp_path / name, 1)
        for name in ("n.txt", "a.yaml~", ".a.yaml.swp", ".hidden.yaml", ".git/x.yaml", "4913"):
            write(tmp_path / name, 1)
        wanted = ("a.yaml", "b.yml", "deep/er/c.yaml")
        assert found(tmp_path) == {str(tmp_path / name) for name in wanted}

    def test_paths_are_said_as_the_user_said_them(
        self, tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(tmp_path / "jobs" / "a.yaml", 1)
        monkeypatch.chdir(tmp_path)
        assert set(look_at(["jobs/"]).files) == {"jobs/a.yaml"}
        assert set(look_at(["."]).files) == {"jobs/a.yaml"}
        assert set(look_at(["./jobs/a.yaml"]).files) == {"jobs/a.yaml"}

    def test_a_file_is_found_once_however_it_is_named(self, tmp_path: Path, write: Write) -> None:
        write(tmp_path / "sub" / "a.yaml", 1)
        (tmp_path / "sub" / "link.yaml").symlink_to("a.yaml")
        assert len(found(tmp_path, tmp_path / "sub", tmp_path / "sub" / "a.yaml")) == 1

    def test_a_hidden_directory_that_is_named_is_read(self, tmp_path: Path, write: Write) -> None:
        write(tmp_path / ".config" / "a.yaml", 1)
        assert len(found(tmp_path / ".config")) == 1

    def test_an_empty_directory_is_empty(self, tmp_path: Path) -> None:
        look = look_at([str(tmp_path)])
        assert (look.files, look.lost, look.refused) == ({}, {}, {})


class TestLinks:
    def test_a_mounted_config_map(self, tmp_path: Path, write: Write) -> None:
        write(tmp_path / "..2026_01" / "a.yaml", 1)
        (tmp_path / "..data").symlink_to("..2026_01")
        (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
        assert found(tmp_path) == {str(tmp_path / "a.yaml")}

    def test_a_root_that_is_a_link_is_watched_where_it_is_swapped(
        self, tmp_path: Path, write: Write
    ) -> None:
        write(tmp_path / ".worktrees" / "abc" / "jobs" / "a.yaml", 1)
        (tmp_path / "current").symlink_to(".worktrees/abc")
        look = look_at([str(tmp_path / "current" / "jobs")])
        assert set(look.files) == {str(tmp_path / "current" / "jobs" / "a.yaml")}
        assert str(tmp_path.resolve()) in look.watch

    @pytest.mark.parametrize("target", ["/etc/passwd", "../outside/a.yaml", "../outside"])
    def test_a_link_out_of_the_directory_is_refused(
        self, tmp_path: Path, write: Write, target: str
    ) -> None:
        write(tmp_path / "outside" / "a.yaml", 1)
        write(tmp_path / "in" / "b.yaml", 1)
        (tmp_path / "in" / "x.yaml").symlink_to(target)
        reading = take_reading([str(tmp_path / "in")])
        assert set(reading.contents) == {str(tmp_path / "in" / "b.yaml")}
        (problem,) = reading.look.refused.values()
        assert "out of the directory" in problem.message

    def test_a_circle_of_directories_ends(self, tmp_path: Path, write: Write) -> None:
        write(tmp_path / "sub" / "a.yaml", 1)
        (tmp_path / "sub" / "again").symlink_to("..")
        (tmp_path / "sub" / "self").symlink_to(".")
        assert len(found(tmp_path)) == 1

    def test_a_link_to_nowhere_is_a_problem_and_not_an_absence(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").symlink_to("gone.yaml")
        (content,) = take_reading([str(tmp_path)]).contents.values()
        assert isinstance(content, Problem)
        assert "No such file" in content.message


class TestLost:
    def test_a_directory_that_is_not_there(self, tmp_path: Path) -> None:
        look = look_at([str(tmp_path / "gone")])
        assert "No such file" in look.lost[str(tmp_path / "gone")].message
        assert str(tmp_path.resolve()) in look.watch

    def test_directories_without_end(self, tmp_path: Path, write: Write) -> None:
        write(tmp_path.joinpath(*["d"] * (DEPTH_MAX + 2)) / "a.yaml", 1)
        assert look_at([str(tmp_path)]).lost

    def test_files_without_end(
        self, tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(scan, "FILES_MAX", 2)
        for name in "abc":
            write(tmp_path / f"{name}.yaml", 1)
        assert "more than 2 files" in look_at([str(tmp_path)]).lost[str(tmp_path)].message

    def test_an_empty_directory_where_another_file_system_was(
        self, tmp_path: Path, write: Write
    ) -> None:
        root = str(tmp_path / "mount")
        write(tmp_path / "mount" / "a.yaml", 1)
        before = look_at([root])
        before.devices[root] += 1  # as if what we see now were the bare mount point
        (tmp_path / "mount" / "a.yaml").unlink()
        for _ in range(3):
            before = look_at([root], before)
            assert "mounted" in before.lost[root].hint
        write(tmp_path / "mount" / "a.yaml", 1)
        assert look_at([root], before).lost == {}

    def test_a_directory_that_its_author_emptied(self, tmp_path: Path, write: Write) -> None:
        write(tmp_path / "a.yaml", 1)
        before = look_at([str(tmp_path)])
        (tmp_path / "a.yaml").unlink()
        assert look_at([str(tmp_path)], before).lost == {}


class TestReading:
    def test_what_is_called_a_manifest_and_is_none(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo.yaml")
        (content,) = take_reading([str(tmp_path)]).contents.values()
        assert isinstance(content, Problem)
        assert content.message == "is not a regular file"

    def test_no_more_is_read_than_is_needed_to_refuse_it(self, tmp_path: Path) -> None:
        with (tmp_path / "big.yaml").open("wb") as file:
            file.truncate(1 << 40)
        (content,) = take_reading([str(tmp_path)]).contents.values()
        assert isinstance(content, bytes)
        assert len(content) == FILE_BYTES_MAX + 1

    def test_a_swap_in_the_middle_gives_the_new_version_whole(
        self, tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for version in (1, 2):
            for name in "abcd":
                write(tmp_path / f"..v{version}" / f"{name}.yaml", version)
        (tmp_path / "..data").symlink_to("..v1")
        for name in "abcd":
            (tmp_path / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
        real_content, read = scan._content, []

        def swap_after_two(path: str, real: str) -> bytes | Problem:
            read.append(path)
            if len(read) == 3:
                (tmp_path / "..new").symlink_to("..v2")
                (tmp_path / "..new").rename(tmp_path / "..data")
            return real_content(path, real)

        monkeypatch.setattr(scan, "_content", swap_after_two)
        reading = take_reading([str(tmp_path)])
        assert reading.at_rest
        contents = [content for content in reading.contents.values() if isinstance(content, bytes)]
        assert len(contents) == 4
        assert all(b"maxConcurrentActions: 2" in content for content in contents)

    def test_a_file_written_in_the_middle_is_read_again(
        self, tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(tmp_path / "a.yaml", 1)
        write(tmp_path / "b.yaml", 1)
        real_content, read = scan._content, []

        def write_after_one(path: str, real: str) -> bytes | Problem:
            content = real_content(path, real)
            read.append(path)
            if len(read) == 2:
                write(tmp_path / "a.yaml", 22)
            return content

        monkeypatch.setattr(scan, "_content", write_after_one)
        reading = take_reading([str(tmp_path)])
        assert b"maxConcurrentActions: 22" in bytes(reading.contents[str(tmp_path / "a.yaml")])  # type: ignore[arg-type]  # a Problem would fail here

    def test_files_that_never_rest_are_told_apart(
        self, tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        versions = iter(range(100))
        write(tmp_path / "a.yaml", 1)
        real_content = scan._content

        def restless(path: str, real: str) -> bytes | Problem:
            content = real_content(path, real)
            (tmp_path / "a.yaml").write_text("x" * next(versions))
            return content

        monkeypatch.setattr(scan, "_content", restless)
        assert not take_reading([str(tmp_path)]).at_rest
