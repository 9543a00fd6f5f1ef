"""A real file system, really changed, backed up and restored: same bytes, same tree, clean."""

import filecmp
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sites import Ext4Disk, Site, nightly


def night(day: int) -> str:
    return f"2026-01-{5 + day:02}T02:00:05+00:00"


def change(disk: Ext4Disk, generation: int) -> None:
    """What a day does to a file system: removals, renames, rewrites, new trees, appends."""
    with disk.mounted() as point:
        entries = sorted(path for path in point.rglob("*") if path.is_file())
        for path in entries[generation::211]:
            path.unlink()
        for path in entries[generation + 1 :: 307]:
            path.rename(path.with_name(f"{path.name}.renamed{generation}"))
        for path in entries[generation + 2 :: 401]:
            if path.exists():
                with path.open("ab") as file:
                    file.write(os.urandom(5000 + generation))
        made = point / f"generation-{generation}"
        shutil.copytree("/etc", made / "etc", symlinks=True, ignore_dangling_symlinks=True)
        (made / "noise").write_bytes(os.urandom(20 * 1024 * 1024))


@pytest.mark.mounts
@pytest.mark.slow(seconds=70)
def test_every_generation_comes_back(
    site: Callable[[str], Site], real_files: Path, tmp_path: Path
) -> None:
    place = site(nightly(last=3))
    disk = Ext4Disk.make(tmp_path / "disk.raw", 1100, real_files)
    place.lab.import_vm("web", disk.path, tags=["prod"])
    taken: list[tuple[Ext4Disk, dict[str, str]]] = []
    said = []
    for day in range(4):
        before = disk.copy(tmp_path / f"generation{day}.raw")
        taken.append((before, before.tree()))
        said += place.operator.run(night(day))
        change(disk, day)
        place.lab.write("web", 0, disk.changes_since(before))
    points = said[-1]["points"]
    assert len(points) == 3, said[-1]
    files = sorted(path.name for path in place.remote.rglob("*.vhd"))
    assert len(files) == 3, "what was pruned is merged"
    for point, (image, tree) in zip(points, taken[1:], strict=True):
        restored = Ext4Disk(tmp_path / f"restored-{point['stamp']}.raw")
        place.restore(point, "0", restored.path)
        restored.check()
        assert filecmp.cmp(restored.path, image.path, shallow=False)
        assert restored.tree() == tree
        restored.path.unlink()
