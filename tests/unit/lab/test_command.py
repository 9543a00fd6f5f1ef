"""The lab's words on the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from reconciler.lab.command import app, parse_bytes
from reconciler.lab.lab import Lab

MIB = 1 << 20


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def directory(tmp_path: Path, image: Path) -> str:
    where = str(tmp_path / "lab")
    Lab.open(where).close()
    done = run("import", "web", str(image), "--dir", where, "--tag", "backup", "--memory", "512M")
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["disks"]) == 1
    return where


def test_import_and_list(directory: str) -> None:
    (line,) = run("ls", "--dir", directory).stdout.splitlines()
    listed = json.loads(line)
    assert (listed["name"], listed["state"], listed["tags"]) == ("web", "Halted", ["backup"])
    assert listed["disks"][0]["size"] == 16 * MIB


def test_write_here_and_through_a_server(directory: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"from a file")
    assert run("write", "web", "0", "--dir", directory, "--from", str(source)).exit_code == 0
    with Lab.open(directory) as lab, lab.serve(tls=True):
        words = ("write", "web", "0", "--dir", directory, "--offset", "1M")
        assert json.loads(run(*words, "--from", str(source)).stdout)["written"] == 11
        assert json.loads(run(*words[:-1], "2M", "--random", "64k").stdout)["written"] == 65536
        assert lab.read_disk("web", 0, 0, 11) == b"from a file"
        assert lab.read_disk("web", 0, MIB, 11) == b"from a file"
        assert lab.read_disk("web", 0, 2 * MIB, 65536).count(0) < 1000
        assert run("power", "web", "Running", "--dir", directory).exit_code == 0
        assert json.loads(run("ls", "--dir", directory).stdout)["state"] == "Running"
        assert run("import", "two", str(source), "--dir", directory).exit_code == 0
        refused = run("write", "web", "9", "--dir", directory, "--random", "1k")
        assert refused.exit_code == 1
        assert "web has no disk 9" in refused.output
        beyond = run("write", "web", "0", "--dir", directory, "--random", "1M", "--offset", "16M")
        assert beyond.exit_code == 1


def test_up_tells_where_it_is_and_what_storage_it_has(directory: str) -> None:
    words = ("up", "--dir", directory, "--sr", "cellar", "--sr", "Local storage")
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-m", "reconciler", "lab", *words], stdout=subprocess.PIPE
        ) as serving:
            assert serving.stdout is not None
            told = json.loads(serving.stdout.readline())
            serving.terminate()
        assert sorted(told["srs"]) == ["Local storage", "cellar"]
    with Lab.open(directory) as lab:
        assert told["srs"] == lab.srs


def test_mistakes(directory: str, tmp_path: Path) -> None:
    for words in (
        ("write", "web", "0", "--dir", directory),
        ("write", "nobody", "0", "--dir", directory, "--random", "1k"),
        ("write", "web", "0", "--dir", directory, "--from", str(tmp_path / "missing")),
        ("import", "x", str(tmp_path / "missing"), "--dir", directory),
        ("ls", "--dir", str(tmp_path / "nowhere")),
        ("up", "--dir", directory, "--set", "speed=3"),
        ("up", "--dir", directory, "--set", "stall_s=soon"),
        ("up", "--dir", directory, "--set", "curve=3"),
        ("power", "web", "Floating", "--dir", directory),
    ):
        assert run(*words).exit_code in (1, 2), words


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("4096", 4096), ("64M", 64 * MIB), ("1.5GiB", 3 << 29), ("2k", 2048)],
)
def test_sizes(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "x", "-1", "1P", "M"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_bytes(text)
