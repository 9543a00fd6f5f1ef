from datetime import UTC, datetime

import pytest

from reconciler.cli.exits import Failure
from reconciler.cli.points import Wanted, choose, readings
from reconciler.ids import (
    DiskSnapshotUuid,
    DiskUuid,
    JobId,
    RemoteName,
    Stamp,
    VmUuid,
    instant_of,
)
from reconciler.observed.chain import DiskFile, History, PointDisk, RestorePoint
from reconciler.observed.remote import RemoteView
from reconciler.observed.unknown import Unknown
from reconciler.plan.points import all_points

NOW = datetime(2026, 1, 9, tzinfo=UTC)
NAS, OFF = RemoteName("nas1"), RemoteName("offsite")
WEB = VmUuid("00000000-0000-0000-0000-00000000000a")
TWIN = VmUuid("00000000-0000-0000-0000-00000000000b")
DAYS = [Stamp(f"2026010{day}T020000Z") for day in range(1, 6)]


def file_of(stamp: Stamp, parent: Stamp | None) -> DiskFile:
    return DiskFile(
        path=f"vdis/j/d/{stamp}.vhd",
        uuid=DiskSnapshotUuid(f"s-{stamp}"),
        parent=None if parent is None else f"{parent}.vhd",
        parent_uuid=None if parent is None else DiskSnapshotUuid(f"s-{parent}"),
        virtual_bytes=1 << 30,
        file_bytes=1 << 20,
        data_bytes=1 << 20,
    )


def point_of(vm: VmUuid, stamp: Stamp, name: str = "web") -> RestorePoint:
    disk = PointDisk(
        disk=DiskUuid("d"),
        snapshot=DiskSnapshotUuid(f"s-{stamp}"),
        name="root",
        path=f"vdis/j/d/{stamp}.vhd",
        size_bytes=1 << 30,
    )
    return RestorePoint(vm, name, stamp, instant_of(stamp), JobId("j"), (), (disk,), 1 << 20)


def history(
    vm: VmUuid, stamps: list[Stamp], *, missing: tuple[Stamp, ...] = (), name: str = "web"
) -> History:
    files = [
        file_of(stamp, stamps[place - 1] if place else None) for place, stamp in enumerate(stamps)
    ]
    return History(
        vm,
        NOW,
        points=tuple(point_of(vm, stamp, name) for stamp in stamps),
        files={file.path: file for file in files if file.file_name[:-4] not in missing},
    )


def view(remote: RemoteName, *histories: History) -> RemoteView:
    return RemoteView(remote, NOW, None, None, {one.vm: one for one in histories})


def world(*views: RemoteView) -> dict[RemoteName, RemoteView | Unknown]:
    return {one.name: one for one in views}


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("web", Wanted("web", None, None)),
        ("web@latest", Wanted("web", None, None)),
        ("web/latest", Wanted("web", None, None)),
        (f"web/{DAYS[0]}", Wanted("web", DAYS[0], None)),
        (f"web@{DAYS[0]}", Wanted("web", DAYS[0], None)),
        (f"web/{DAYS[0]}@nas1", Wanted("web", DAYS[0], NAS)),
        (f"web@{DAYS[0]}@nas1", Wanted("web", DAYS[0], NAS)),
        ("web@nas1", Wanted("web", None, NAS)),
        ("a/b@c", Wanted("a/b@c", None, None)),
        ("a/b@nas1", Wanted("a/b", None, NAS)),
        (f"a@b/{DAYS[0]}@nas1", Wanted("a@b", DAYS[0], NAS)),
    ],
)
def test_readings(text: str, first: Wanted) -> None:
    assert next(readings(text, [NAS])) == first


def test_the_printed_name_finds_its_point() -> None:
    remotes = world(view(NAS, history(WEB, DAYS[:3])), view(OFF, history(WEB, DAYS[1:4])))
    for located in all_points(remotes):
        assert choose(located.name, remotes) == located


def test_the_newest_is_meant_unless_said_otherwise() -> None:
    remotes = world(view(NAS, history(WEB, DAYS[:3])), view(OFF, history(WEB, DAYS[:4])))
    assert choose("web", remotes).name == f"{WEB}/{DAYS[3]}@offsite"
    assert choose(WEB.upper(), remotes).name == f"{WEB}/{DAYS[3]}@offsite"
    assert choose("web@latest", remotes, remote=NAS).name == f"{WEB}/{DAYS[2]}@nas1"
    assert choose("web", remotes, as_of=instant_of(DAYS[1])).point.stamp == DAYS[1]
    assert choose(f"web@{DAYS[1]}@offsite", remotes).remote == OFF


def test_a_name_with_signs_in_it_is_still_a_name() -> None:
    remotes = world(view(NAS, history(WEB, DAYS[:2], name="a/b@nas1")))
    assert choose("a/b@nas1", remotes).point.vm == WEB
    assert choose(f"a/b@nas1/{DAYS[0]}@nas1", remotes).point.stamp == DAYS[0]


def test_a_renamed_vm_is_found_by_its_present_name_first() -> None:
    old = history(WEB, DAYS[:2], name="web")
    renamed = History(
        WEB,
        NOW,
        points=(old.points[0], point_of(WEB, DAYS[1], "web-old")),
        files=old.files,
    )
    remotes = world(view(NAS, renamed, history(TWIN, DAYS[:1], name="web")))
    assert choose("web", remotes).point.vm == TWIN
    assert choose("web-old", remotes).point.vm == WEB
    alone = world(view(NAS, renamed))
    assert choose("web", alone).point.stamp == DAYS[1]


def test_two_vms_of_one_name_are_never_guessed() -> None:
    remotes = world(view(NAS, history(WEB, DAYS[:1])), view(OFF, history(TWIN, DAYS[:2])))
    with pytest.raises(Failure, match="2 VMs have this name") as caught:
        choose("web", remotes)
    assert WEB in str(caught.value)
    assert TWIN in str(caught.value)
    assert choose(TWIN, remotes).point.vm == TWIN


def test_a_broken_point_is_refused_and_never_replaced_by_an_older_one() -> None:
    remotes = world(view(NAS, history(WEB, DAYS[:3], missing=(DAYS[2],))))
    with pytest.raises(Failure, match="cannot be restored") as caught:
        choose("web", remotes)
    assert f"{WEB}/{DAYS[1]}@nas1" in caught.value.hint
    assert choose(f"web@{DAYS[1]}", remotes).point.stamp == DAYS[1]


def test_a_whole_copy_is_taken_where_one_is_broken() -> None:
    remotes = world(
        view(NAS, history(WEB, DAYS[:3], missing=(DAYS[0],))), view(OFF, history(WEB, DAYS[:3]))
    )
    assert choose("web", remotes).remote == OFF


def test_what_is_not_there_is_said_with_what_is() -> None:
    remotes = world(view(NAS, history(WEB, DAYS[:2])))
    with pytest.raises(Failure, match="no such restore point") as caught:
        choose(f"web@{DAYS[4]}", remotes)
    assert DAYS[1] in caught.value.hint
    with pytest.raises(Failure, match="no such restore point"):
        choose("web", remotes, as_of=datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(Failure, match="no restore point of such a VM"):
        choose("db", remotes)


def test_a_remote_that_was_not_seen_is_named() -> None:
    unseen = {NAS: Unknown(NOW, "RemoteUnavailable", "gone"), **world(view(OFF))}
    with pytest.raises(Failure, match="any of 2 remotes") as caught:
        choose("web", unseen)
    assert "not seen: remote nas1" in caught.value.hint
