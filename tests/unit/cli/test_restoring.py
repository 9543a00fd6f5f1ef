from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.cli.exits import ExitCode, Failure
from reconciler.cli.restoring import (
    Request,
    action_of,
    disk_of,
    find,
    numbers_of,
    plan_of,
    plan_text,
    what_to_see,
)
from reconciler.clock import SteppedClock
from reconciler.desired.state import Desired, LocalPlace, Pool, Remote, SecretRef
from reconciler.ids import (
    DiskSnapshotUuid,
    DiskUuid,
    JobId,
    PoolName,
    RemoteName,
    Stamp,
    VmUuid,
    instant_of,
)
from reconciler.observed.chain import DiskFile, History, PointDisk, PointKind, RestorePoint
from reconciler.observed.remote import RemoteView
from reconciler.observed.state import Observed
from reconciler.observed.unknown import Unknown
from reconciler.plan.plan import Plan
from reconciler.plan.points import Located
from reconciler.plan.reasons import Reason
from reconciler.plan.restore_actions import RestoreDisk, RestoreVm
from reconciler.status.report import Report

NOW = datetime(2026, 1, 9, 12, tzinfo=UTC)
LAB, EAST, NAS, OFF = PoolName("lab"), PoolName("east"), RemoteName("nas1"), RemoteName("off")
WEB = VmUuid("0000000a-0000-0000-0000-00000000000a")
FULL, DELTA = Stamp("20260107T020000Z"), Stamp("20260108T020000Z")
GIB = 1 << 30
DESIRED = Desired(
    pools={name: Pool(name, ("https://x",), "root", SecretRef(env="P")) for name in (LAB, EAST)},
    remotes={name: Remote(name, LocalPlace(f"/{name}")) for name in (NAS, OFF)},
)


def request(**words: object) -> Request:
    given: dict[str, object] = {
        **{"point": "web", "remote": None, "as_of": None, "to_pool": None, "sr": None},
        **{"name": None, "start": False, "disk": None, "to_file": None, "format": "raw"},
    }
    return Request(**{**given, **words})  # type: ignore[arg-type]


def located(*positions: str) -> Located:
    disks, files = [], {}
    for number, position in enumerate(positions):
        for stamp, parent in ((FULL, None), (DELTA, FULL)):
            file = DiskFile(
                path=f"vdis/j/{number}/{stamp}.vhd",
                uuid=DiskSnapshotUuid(f"{number}-{stamp}"),
                parent=None if parent is None else f"{parent}.vhd",
                parent_uuid=None if parent is None else DiskSnapshotUuid(f"{number}-{parent}"),
                virtual_bytes=GIB,
                file_bytes=GIB // 2,
                data_bytes=3 * GIB // 4,
            )
            files[file.path] = file
        disks.append(
            PointDisk(
                disk=DiskUuid(f"uuid-{number}"),
                snapshot=DiskSnapshotUuid(f"{number}-{DELTA}"),
                name=f"disk \x1b{number // 2}",
                path=f"vdis/j/{number}/{DELTA}.vhd",
                size_bytes=GIB,
                position=position,
            )
        )
    point = RestorePoint(WEB, "web", DELTA, instant_of(DELTA), JobId("j"), (), tuple(disks), GIB)
    return Located(NAS, point, History(WEB, NOW, points=(point,), files=files))


def test_disks_have_the_numbers_of_their_positions() -> None:
    assert list(numbers_of(located("0", "1", "3").point)) == ["0", "1", "3"]
    assert list(numbers_of(located("0", "", "3").point)) == ["0", "1", "2"]
    assert list(numbers_of(located("0", "0").point)) == ["0", "1"]


def test_a_disk_is_named_by_number_uuid_or_name() -> None:
    found = located("0", "2", "3")
    assert disk_of(found, "2") == "uuid-1"
    assert disk_of(found, "UUID-2") == "uuid-2"
    assert disk_of(found, "disk \x1b1") == "uuid-2"
    with pytest.raises(Failure, match="no such disk") as caught:
        disk_of(found, "1")
    assert "0 (disk" in caught.value.hint
    with pytest.raises(Failure, match="several of its disks"):
        disk_of(found, "disk \x1b0")


def archived(found: Located, *, listed: bool = True, flaw: str = "") -> Located:
    """The same point, as an archive."""
    disks = found.point.disks if listed else ()
    archive = {"kind": PointKind.ARCHIVE, "archive": f"{DELTA}.xva", "flaw": flaw}
    return replace(found, point=replace(found.point, disks=disks, **archive))


def test_a_disk_of_an_archive_that_lists_none_is_asked_for_as_it_was_named() -> None:
    found = located("0", "1")
    assert disk_of(archived(found), "1") == "uuid-1"
    assert disk_of(archived(found, listed=False), "1") == "1"
    with pytest.raises(Failure, match="no such disk"):
        disk_of(archived(found), "7")


@pytest.mark.parametrize("words", [{"to_pool": LAB}, {"disk": "1", "to_file": Path("/x")}])
def test_an_archive_is_read_once_and_to_its_end(words: dict[str, object]) -> None:
    found = archived(located("0", "1"))
    action = action_of(request(**words), found, SteppedClock(NOW))
    content = plan_of(action, found)
    assert content["readBytesMax"] == GIB
    wanted = ["0", "1"] if "to_pool" in words else ["1"]
    assert [disk["number"] for disk in content["disks"]] == wanted
    assert content["disks"][0]["chain"] == [
        {"path": f"{DELTA}.xva", "kind": "Archive", "fileBytes": GIB}
    ]
    assert "in an archive:" in plan_text(content)


def test_a_flawed_archive_says_so() -> None:
    found = archived(located("0"), flaw="x.xva is missing")
    assert found.broken() == "x.xva is missing"
    assert archived(located("0")).broken() == ""


def test_only_what_is_needed_is_looked_at(tmp_path: Path) -> None:
    seen = what_to_see(request(to_pool=LAB), DESIRED)
    assert (set(seen.pools), set(seen.remotes)) == ({LAB}, {NAS, OFF})
    words = {"disk": "0", "to_file": tmp_path / "disk", "remote": OFF}
    seen = what_to_see(request(**words), DESIRED)
    assert (set(seen.pools), set(seen.remotes)) == (set(), {OFF})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"to_pool": PoolName("x")}, "XenPool/x"),
        ({"to_pool": LAB, "remote": RemoteName("x")}, "BackupRemote/x"),
        ({"disk": "0", "to_file": Path("/")}, "never overwritten"),
        ({"disk": "0", "to_file": Path("/no/such/x")}, "no such directory"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_read(
    words: dict[str, object], said: str
) -> None:
    with pytest.raises(Failure) as caught:
        what_to_see(request(**words), DESIRED)
    assert said in str(caught.value)


def test_a_dangling_link_is_not_overwritten_either(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Failure, match="never overwritten"):
        what_to_see(request(disk="0", to_file=tmp_path / "link"), DESIRED)


def seen(view: RemoteView | Unknown) -> Report:
    desired = what_to_see(request(to_pool=LAB, remote=NAS), DESIRED)
    return Report(desired, Observed(remotes={NAS: view}), Plan(), NOW)


def test_why_nothing_was_found_decides_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    gone = Unknown(NOW, Reason.REMOTE_UNAVAILABLE, "not mounted")
    with pytest.raises(Failure) as caught:
        find(request(), seen(gone))
    assert caught.value.code is ExitCode.REMOTE_UNAVAILABLE
    assert "remote nas1: not mounted" in capsys.readouterr().err
    with pytest.raises(Failure) as caught:
        find(request(), seen(RemoteView(NAS, NOW, None, None)))
    assert caught.value.code is ExitCode.ERROR
    found = located("0")
    there = RemoteView(NAS, NOW, None, None, {WEB: found.history})
    assert find(request(), seen(there)) == found


def test_actions_and_their_plans() -> None:
    clock, found = SteppedClock(NOW), located("0", "1")
    vm = action_of(request(to_pool=LAB, sr="fast", name="n", start=True), found, clock)
    assert isinstance(vm, RestoreVm)
    assert (vm.pool, vm.sr, vm.name, vm.start, vm.stamp) == (LAB, "fast", "n", True, DELTA)
    content = plan_of(vm, found)
    assert content["readBytesMax"] == 2 * GIB  # no more than the disks hold
    text = plan_text(content)
    assert 'new VM "n" on pool lab, SR fast, started' in text
    assert "1 full and 1 delta:" in text
    assert "\x1b" not in text
    disk = action_of(request(disk="1", to_file=Path("out"), format="vhd"), found, clock)
    assert isinstance(disk, RestoreDisk)
    assert (disk.disk, disk.output, disk.format) == ("uuid-1", "out", "vhd")
    content = plan_of(disk, found)
    assert [each["number"] for each in content["disks"]] == ["1"]
    assert "file out (vhd)" in plan_text(content)
