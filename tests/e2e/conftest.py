"""Fixtures of the end-to-end tests: a lab in a process of its own, real files, a site."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sites import MIB, LabProcess, Operator, Site, file_tree_size, manifests


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[LabProcess]:
    running = LabProcess(tmp_path / "lab")
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def real_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 400 MB of files that nobody made for a test."""
    root = tmp_path_factory.mktemp("files")
    room = 400 * MIB
    for candidate in ("/usr/bin", "/usr/include", "/usr/lib/python3", "/usr/libexec", "/usr/share"):
        for entry in sorted(Path(candidate).glob("*")):
            size = file_tree_size(entry)
            if size <= room and not entry.is_symlink():
                room -= size
                target = root / candidate.strip("/") / entry.name
                target.parent.mkdir(parents=True, exist_ok=True)
                if entry.is_dir():
                    shutil.copytree(entry, target, symlinks=True)
                else:
                    shutil.copy2(entry, target)
    return root


@pytest.fixture
def site(lab: LabProcess, tmp_path: Path) -> Iterator[Callable[[str], Site]]:
    """Make a site of the lab for one job's manifest. At the end, nothing changes any more."""
    made: list[Site] = []

    def make(job: str) -> Site:
        remote = tmp_path / "remote"
        directory = manifests(tmp_path / "manifests", lab.facts, remote, job)
        operator = Operator(directory, tmp_path / "operator.log")
        made.append(Site(lab, directory, remote, operator))
        return made[-1]

    yield make
    for each in made:
        each.check_at_rest()
