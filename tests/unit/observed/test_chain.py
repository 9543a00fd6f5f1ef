"""Linking files to chains: health, depth, and what hostile headers cannot do."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from reconciler.ids import DiskSnapshotUuid, DiskUuid, JobId, Stamp, VmUuid
from reconciler.observed.chain import (
    BrokenChain,
    Chains,
    DiskFile,
    FileState,
    PointDisk,
    RestorePoint,
    chain_of,
    disk_name,
    stamp_in,
)


def file(name: str, parent: str | None = None, **changes: object) -> DiskFile:
    made = DiskFile(
        path=f"vdis/j/d/{name}",
        uuid=DiskSnapshotUuid(f"uuid of {name}"),
        parent=parent,
        parent_uuid=None if parent is None else DiskSnapshotUuid(f"uuid of {parent}"),
        virtual_bytes=1,
        file_bytes=1,
        data_bytes=1,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def files(*each: DiskFile) -> dict[str, DiskFile]:
    return {one.path: one for one in each}


CHAIN = files(file("1"), file("2", "1"), file("3", "2"))


def test_a_path_falls_into_directory_and_name() -> None:
    assert CHAIN["vdis/j/d/2"].directory == "vdis/j/d"
    assert CHAIN["vdis/j/d/2"].file_name == "2"
    assert CHAIN["vdis/j/d/2"].parent_path == "vdis/j/d/1"


def test_a_whole_chain_goes_down_to_its_full() -> None:
    assert [link.file_name for link in chain_of(CHAIN, "vdis/j/d/3")] == ["3", "2", "1"]
    chains = Chains(CHAIN)
    assert [chains.depth(path) for path in ("vdis/j/d/3", "vdis/j/d/1", "vdis/j/d/2")] == [3, 1, 2]


def test_what_is_known_of_the_lower_part_is_used() -> None:
    chains = Chains(CHAIN)
    assert [chains.depth(path) for path in sorted(CHAIN)] == [1, 2, 3]


BROKEN = {
    "a link is missing": files(file("1"), file("3", "2")),
    "a link is broken": files(file("1"), file("2", "1", state=FileState.BROKEN), file("3", "2")),
    "the full is broken": files(file("1", state=FileState.BROKEN), file("2", "1"), file("3", "2")),
    "a parent is another": files(
        file("1", uuid=DiskSnapshotUuid("other")), file("2", "1"), file("3", "2")
    ),
    "a circle": files(file("1", "3"), file("2", "1"), file("3", "2")),
    "its own parent": files(file("3", "3")),
    "not there": {},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_chain_that_cannot_be_followed_is_broken(broken: dict[str, DiskFile]) -> None:
    with pytest.raises(BrokenChain):
        chain_of(broken, "vdis/j/d/3")
    chains = Chains(broken)
    assert chains.depth("vdis/j/d/3") == 0
    assert chains.depth("vdis/j/d/3") == 0  # from memory


def test_what_is_below_a_break_is_not_broken() -> None:
    chains = Chains(BROKEN["a link is broken"])
    assert [chains.depth(f"vdis/j/d/{name}") for name in "321"] == [0, 0, 1]


def test_a_long_chain_needs_no_deep_stack() -> None:
    many = [file("0"), *(file(str(number), str(number - 1)) for number in range(1, 5000))]
    assert Chains(files(*many)).depth("vdis/j/d/4999") == 5000


def test_a_point_is_whole_if_each_of_its_disks_is() -> None:
    def point(*paths: str) -> RestorePoint:
        disks = tuple(
            PointDisk(DiskUuid("d"), DiskSnapshotUuid("s"), "", path, 1) for path in paths
        )
        return RestorePoint(
            vm=VmUuid("v"),
            vm_name="web",
            stamp=Stamp("20260101T000000Z"),
            taken_at=datetime(2026, 1, 1, tzinfo=UTC),
            job=JobId("j"),
            schedules=(),
            disks=disks,
            size_bytes=1,
        )

    chains = Chains(CHAIN)
    assert chains.is_whole(point("vdis/j/d/3", "vdis/j/d/1"))
    assert not chains.is_whole(point("vdis/j/d/3", "vdis/j/d/4"))


def test_what_stands_on_what() -> None:
    fork = files(file("1"), file("3", "1"), file("2", "1"), file("4", "2"))
    chains = Chains(fork)
    assert chains.above({"vdis/j/d/1", "vdis/j/d/4"}) == {
        "vdis/j/d/1": ["vdis/j/d/2", "vdis/j/d/3"],
        "vdis/j/d/4": [],
    }
    assert chains.carries(fork["vdis/j/d/1"])
    assert not chains.carries(fork["vdis/j/d/3"])


def test_a_name_of_another_directory_is_not_meant() -> None:
    elsewhere = replace(file("2", "1"), path="vdis/j/e/2")
    chains = Chains(files(file("1"), elsewhere))
    assert chains.above({"vdis/j/d/1"}) == {"vdis/j/d/1": []}
    assert not chains.carries(file("1"))
    assert chains.depth("vdis/j/e/2") == 0


def test_a_name_says_layout_and_stamp():
    for blocks, name in ((False, "20260101T020000Z.vhd"), (True, "20260101T020000Z.alias.vhd")):
        assert disk_name(Stamp("20260101T020000Z"), blocks=blocks) == name
        assert stamp_in(name) == "20260101T020000Z"
