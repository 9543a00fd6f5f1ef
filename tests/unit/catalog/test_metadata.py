import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.catalog.errors import MetadataInvalid
from reconciler.catalog.metadata import (
    METADATA_BYTES_MAX,
    PointMetadata,
    PointRecords,
    compose,
    compose_full,
    disk_paths,
    point_of,
)
from reconciler.ids import DiskUuid, JobId, ScheduleId, Stamp, VmUuid
from reconciler.observed.chain import PointKind

VM = VmUuid("11111111-2222-3333-4444-555555555555")
DISK = DiskUuid("dddddddd-0000-0000-0000-000000000001")
OTHER_DISK = DiskUuid("dddddddd-0000-0000-0000-000000000002")
JOB = JobId("aaaaaaaa-0000-0000-0000-00000000000a")
SCHEDULE = ScheduleId("eeeeeeee-0000-0000-0000-00000000000e")
STAMP = Stamp("20260101T020000Z")
SNAPSHOT = "55555555-0000-0000-0000-000000000001"
PATH = f"vdis/{JOB}/{DISK}/{STAMP}.vhd"


def records_of(refs):
    return PointRecords(
        vm={"uuid": VM, "name_label": "web", "name_description": "", "tags": []},
        snapshot={"suspend_VDI": "OpaqueRef:NULL"},
        vbds={"OpaqueRef:b": {"bootable": True}},
        vdis={ref: {"uuid": SNAPSHOT, "name_label": "root"} for ref in refs},
        vifs={},
        vtpms=[None],
    )


def minimum(**changes):
    """The least that Xen Orchestra itself needs for a point."""
    fields = {
        "mode": "delta",
        "jobId": JOB,
        "scheduleId": SCHEDULE,
        "timestamp": 1767232800000,
        "vm": {"uuid": VM, "name_label": "web", "name_description": "", "tags": []},
        "vhds": {"OpaqueRef:1": PATH},
        "vdis": {"OpaqueRef:1": {"uuid": SNAPSHOT, "name_label": "root"}},
    }
    fields.update(changes)
    return {name: value for name, value in fields.items() if value is not None}


def parsed(**changes):
    return PointMetadata.parse(json.dumps(minimum(**changes)).encode())


def point(**changes):
    return point_of(parsed(**changes), VM, STAMP)


def test_xen_orchestras_minimum_is_a_point():
    found = point()
    assert (found.vm, found.vm_name, found.stamp, found.job) == (VM, "web", STAMP, JOB)
    assert found.schedules == (SCHEDULE,)
    assert found.size_bytes == 0
    [disk] = found.disks
    assert (disk.disk, disk.path, disk.snapshot) == (DISK, PATH, SNAPSHOT)
    assert (disk.name, disk.size_bytes) == ("root", 0)


def test_our_own_schedules_count_if_they_are_there():
    assert point(reconciler={"schedules": ["s1", "s2"], "revision": "r"}).schedules == ("s1", "s2")
    assert point(reconciler={"schedules": []}).schedules == ()


def test_any_job_id_that_can_be_a_directory_is_one():
    path = f"vdis/nightly backup/{DISK}/{STAMP}.vhd"
    found = point(jobId="nightly backup", vhds={"OpaqueRef:1": path})
    assert (found.job, found.disks[0].path) == ("nightly backup", path)


def test_what_is_not_known_is_kept_as_it_is():
    strange = {"deep": [1, 2.5, None, {"é": "😀 \ud800"}], "big": 2**70, "job": "mine"}
    fields = minimum(strange=strange, vm={"uuid": VM, "name_label": "web", "VCPUs_max": 4})
    fields["vdis"]["OpaqueRef:1"]["sm_config"] = {"x": "y"}
    rendered = PointMetadata.parse(json.dumps(fields).encode()).render()
    assert json.loads(rendered) == fields
    assert b": " not in rendered


def test_sizes_and_kinds_are_written_anew():
    before = parsed(size=1, isVhdDifferencing={"OpaqueRef:1": True})
    after = json.loads(before.with_files(7, {"OpaqueRef:1": False}).render())
    assert after == minimum(size=7, isVhdDifferencing={"OpaqueRef:1": False})


def test_numbers_as_other_writers_put_them():
    vdis = {"OpaqueRef:1": {"uuid": SNAPSHOT, "virtual_size": "21474836480"}}
    found = point(size=123.0, vdis=vdis, timestamp=1767232800999.5)
    assert found.size_bytes == 123
    assert found.disks[0].size_bytes == 20 * 2**30
    assert point(vdis={"OpaqueRef:1": {"uuid": SNAPSHOT, "virtual_size": "x"}})


CRAFTED = {
    "mode": [{"mode": "later"}, {"mode": None}, {"mode": 7}],
    "timestamp": [
        {"timestamp": 1767232799999},
        {"timestamp": 0},
        {"timestamp": -(10**18)},
        {"timestamp": 10**30},
        {"timestamp": "1767232800000"},
        {"timestamp": True},
        {"timestamp": None},
    ],
    "vm": [
        {"vm": {"uuid": VM.replace("1", "2"), "name_label": "other"}},
        {"vm": {"uuid": "../../other"}},
        {"vm": None},
        {"vm": []},
    ],
    "vhds": [
        {"vhds": {}},
        {"vhds": None},
        {"vhds": {"OpaqueRef:1": "/etc/passwd"}},
        {"vhds": {"OpaqueRef:1": f"../other/{PATH}"}},
        {"vhds": {"OpaqueRef:1": f"vdis/../{DISK}/{STAMP}.vhd"}},
        {"vhds": {"OpaqueRef:1": PATH.replace(".vhd", ".alias.alias.vhd")}},
        {"vhds": {"OpaqueRef:1": PATH.replace(str(STAMP), f"data/{STAMP}")}},
        {"vhds": {"OpaqueRef:1": PATH + "\0"}},
        {"vhds": {"OpaqueRef:1": 7}},
        {"vhds": {"OpaqueRef:1": ["x"]}},
        {"vhds": {"OpaqueRef:1": "a" * 5000}},
        {"vhds": {"OpaqueRef:1": PATH, "OpaqueRef:2": PATH}},
        {"vhds": {str(n): PATH for n in range(2000)}},
    ],
    "vdis": [
        {"vdis": {}},
        {"vdis": {"OpaqueRef:2": {"uuid": SNAPSHOT}}},
        {"vdis": {"OpaqueRef:1": {"uuid": "not-a-uuid"}}},
        {"vdis": {"OpaqueRef:1": {"uuid": SNAPSHOT + "\n"}}},
        {"vdis": {"OpaqueRef:1": {}}},
    ],
    "ids": [
        {"jobId": None},
        {"jobId": 7},
        {"scheduleId": None},
        {"jobId": "x" * 5000},
        {"reconciler": {"schedules": "all"}},
        {"reconciler": []},
    ],
}


@pytest.mark.parametrize("changes", [case for cases in CRAFTED.values() for case in cases], ids=str)
def test_crafted_metadata_is_refused_in_words(changes):
    with pytest.raises(MetadataInvalid) as raised:
        point(**changes)
    assert 0 < len(str(raised.value)) < 500


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 10_000,
        b'{"mode":NaN}',
        json.dumps(minimum()).replace('"jobId"', '"x":1e999,"jobId"').encode(),
        json.dumps(minimum()).replace('"jobId"', '"x":-Infinity,"jobId"').encode(),
        json.dumps(minimum(jobId="\ud800")).encode(),
        b" " * (METADATA_BYTES_MAX + 1),
    ],
    ids=lambda content: repr(content[:20]),
)
def test_bytes_that_are_no_metadata_are_refused(content):
    with pytest.raises(MetadataInvalid):
        point_of(PointMetadata.parse(content), VM, STAMP)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(minimum())), json_values), json_values)
def test_whatever_is_put_there_it_is_refused_or_understood(changes, extra):
    content = json.dumps({**minimum(), **changes, "extra": extra}).encode()
    try:
        metadata = PointMetadata.parse(content)
        found = point_of(metadata, VM, STAMP)
    except MetadataInvalid:
        return
    assert found.stamp == STAMP
    assert json.loads(metadata.render()) == json.loads(content)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_words(content):
    with pytest.raises(MetadataInvalid):
        PointMetadata.parse(content)


def test_a_point_of_the_full_mode_names_its_own_archive_and_no_disk_file():
    full = parsed(mode="full", vhds=None, vdis=None, xva=f"./{STAMP}.xva")
    point = point_of(full, VM, STAMP)
    assert (point.kind, point.archive) == (PointKind.ARCHIVE, f"{STAMP}.xva")
    assert point.disks == (), "Xen Orchestra lists none"
    assert point.flaw == ""
    with pytest.raises(MetadataInvalid, match="has no disk files"):
        point_of(parsed(mode="full"), VM, STAMP)
    with pytest.raises(MetadataInvalid, match="another VM"):
        point_of(full, VM.replace("1", "2"), STAMP)
    for path in (None, "", "./", "../x.xva", f"./vdis/{STAMP}.xva", "./20200101T000000Z.xva"):
        with pytest.raises(MetadataInvalid, match="xva: "):
            point_of(parsed(mode="full", vhds=None, vdis=None, xva=path), VM, STAMP)


def test_what_we_compose_of_an_archive_lists_its_disks_in_order():
    refs = {"OpaqueRef:1": DISK, "OpaqueRef:2": OTHER_DISK}
    records = records_of(refs)
    live = {"OpaqueRef:1": OTHER_DISK, "OpaqueRef:2": DISK}
    for ref, record in records.vdis.items():
        record["$snapshot_of$uuid"] = live[ref]
    records = replace(
        records,
        vbds={
            "a": {"VDI": "OpaqueRef:1", "userdevice": "10"},
            "b": {"VDI": "OpaqueRef:2", "userdevice": "9"},
        },
    )
    metadata = compose_full(STAMP, JOB, (SCHEDULE, "second"), records, 4096)
    fields = json.loads(metadata.render())
    assert set(fields) == {
        "jobId",
        "mode",
        "reconciler",
        "scheduleId",
        "size",
        "timestamp",
        "version",
        "vm",
        "vmSnapshot",
        "xva",
    }
    assert (fields["mode"], fields["xva"], fields["size"]) == ("full", f"./{STAMP}.xva", 4096)
    point = point_of(PointMetadata.parse(metadata.render()), VM, STAMP)
    assert point.schedules == (SCHEDULE, "second")
    assert [(each.disk, each.position) for each in point.disks] == [(DISK, "9"), (OTHER_DISK, "10")]
    assert [each.snapshot for each in point.disks] == [
        records.vdis["OpaqueRef:2"]["uuid"],
        records.vdis["OpaqueRef:1"]["uuid"],
    ]
    assert {each.path for each in point.disks} == {point.archive}


@pytest.mark.parametrize(
    "disk",
    [{}, {"disk": "x", "snapshot": "y"}, {"disk": DISK, "snapshot": DISK, "position": "-1"}],
)
def test_disks_of_an_archive_that_make_no_sense_are_refused(disk):
    with pytest.raises(MetadataInvalid, match=r"reconciler\.disks"):
        parsed(mode="full", xva=f"./{STAMP}.xva", reconciler={"disks": [disk]})


def test_what_we_compose_has_every_field_that_xen_orchestra_writes():
    refs = {"OpaqueRef:1": DISK, "OpaqueRef:2": OTHER_DISK}
    paths = {ref: f"vdis/{JOB}/{disk}/{STAMP}.vhd" for ref, disk in refs.items()}
    records = records_of(refs)
    metadata = compose(STAMP, JOB, (SCHEDULE, "second"), "rev", records, paths)
    fields = json.loads(metadata.with_files(5, dict.fromkeys(refs, True)).render())
    assert set(fields) == {
        "includeNonNbdQcow2Fix",
        "isVhdDifferencing",
        "jobId",
        "mode",
        "reconciler",
        "scheduleId",
        "size",
        "timestamp",
        "vbds",
        "vdis",
        "version",
        "vhds",
        "vifs",
        "vm",
        "vmSnapshot",
        "vtpms",
    }
    assert (fields["mode"], fields["version"]) == ("delta", "2.0.0")
    assert fields["includeNonNbdQcow2Fix"] is True
    assert fields["timestamp"] == 1767232800000
    assert fields["scheduleId"] == SCHEDULE
    assert set(fields["vhds"]) == set(fields["vdis"]) == set(refs)
    found = point_of(metadata, VM, STAMP)
    assert found.schedules == (SCHEDULE, "second")
    assert [disk.disk for disk in found.disks] == [DISK, OTHER_DISK]
    assert set(disk_paths(metadata)) == set(refs)


def test_a_point_says_how_long_ago_the_full_of_each_chain_was_taken():
    refs = {"OpaqueRef:1": DISK, "OpaqueRef:2": OTHER_DISK}
    paths = {ref: f"vdis/{JOB}/{disk}/{STAMP}.vhd" for ref, disk in refs.items()}
    composed = compose(STAMP, JOB, (SCHEDULE,), "", records_of(refs), paths, {DISK: 7})
    found = point_of(PointMetadata.parse(composed.render()), VM, STAMP)
    assert {disk.disk: disk.since_full for disk in found.disks} == {DISK: 7, OTHER_DISK: None}


@pytest.mark.parametrize("said", [{DISK: -1}, {DISK: "7"}, [7]])
def test_a_count_that_is_none_is_refused(said):
    with pytest.raises(MetadataInvalid, match=r"reconciler\.sinceFull"):
        parsed(reconciler={"schedules": [], "sinceFull": said})


def test_a_point_asked_for_by_hand_answers_no_schedule():
    records = records_of(["OpaqueRef:1"])
    metadata = compose(STAMP, JOB, (), "", records, {"OpaqueRef:1": PATH})
    assert point_of(metadata, VM, STAMP).schedules == ()
    assert metadata.schedule == JOB
