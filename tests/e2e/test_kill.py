"""The operator is killed at random moments and started again: nothing of it shows in the end."""

import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sites import MIB, LabProcess, Site, nightly

SIZES_MIB = (96, 24)
KILLS_A_DAY = 2


@dataclass
class Guest:
    """A VM's disks, and the same bytes in files of our own."""

    lab: LabProcess
    copies: list[Path]

    def write(self, disk: int, offset: int, content: bytes) -> None:
        self.lab.write("web", disk, [(offset, content)])
        with self.copies[disk].open("r+b") as file:
            file.seek(offset)
            file.write(content)

    def remember(self, directory: Path) -> list[Path]:
        directory.mkdir()
        return [Path(shutil.copy(copy, directory / copy.name)) for copy in self.copies]


def make_guest(lab: LabProcess, directory: Path, chance: random.Random) -> Guest:
    copies = []
    for number, size_mib in enumerate(SIZES_MIB):
        image = directory / f"{number}.raw"
        with image.open("wb") as file:
            file.truncate(size_mib * MIB)
            file.seek(2 * MIB)
            file.write(chance.randbytes(size_mib * MIB // 2))
        copies.append(image)
    lab.import_vm("web", *copies, tags=["prod"])
    return Guest(lab, copies)


def snapshots_on(lab: LabProcess) -> list[str]:
    with lab.xenapi() as xenapi:
        vms = xenapi.VM.get_all_records().values()
        return [vm["name_label"] for vm in vms if vm["is_a_snapshot"]]


def kill_once(site: Site, instant: str, delay_s: float) -> None:
    process = site.operator.start(instant)
    time.sleep(delay_s)  # the moment is what is random here; nothing is waited for
    process.kill()
    process.communicate()


@pytest.mark.slow(seconds=30)
def test_a_killed_operator_ends_as_one_that_was_not(
    site: Callable[[str], Site], lab: LabProcess, tmp_path: Path
) -> None:
    seed = int(os.environ.get("KILL_SEED", random.randrange(10**6)))
    print(f"replay with KILL_SEED={seed}")
    chance = random.Random(seed)
    place = site(nightly(last=2))
    guest = make_guest(lab, tmp_path, chance)
    contents: list[list[Path]] = []
    said = []
    for day in range(3):
        contents.append(guest.remember(tmp_path / f"day{day}"))
        instant = f"2026-01-{5 + day:02}T02:00:05+00:00"
        for _ in range(KILLS_A_DAY):
            kill_once(place, instant, chance.uniform(1.0, 3.0))
        said = place.operator.run(instant)
        for number, size_mib in enumerate(SIZES_MIB):
            offset = chance.randrange(size_mib - 6) * MIB + 512
            guest.write(number, offset, chance.randbytes(5 * MIB))
    points = said[-1]["points"]
    assert len(points) == 2, said[-1]
    for point, images in zip(points, contents[-2:], strict=True):
        for number, image in enumerate(images):
            restored = tmp_path / "restored.raw"
            place.restore(point, str(number), restored)
            assert restored.read_bytes() == image.read_bytes(), (point, number)
            restored.unlink()
    left = sorted(path.name for path in place.remote.rglob("*") if path.is_file())
    disks = [name for name in left if name.endswith(".vhd") and not name.startswith(".")]
    assert len(disks) == 4, left
    assert not [name for name in left if name.startswith(".") and "vhd" in name], left
    assert len(snapshots_on(lab)) == 1
