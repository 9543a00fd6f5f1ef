import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.ids import DiskSnapshotUuid, DiskUuid, JobId, ScheduleId, SrUuid, Stamp, VmUuid
from reconciler.observed.marks import MARK_KEYS, read_marks
from reconciler.observed.replica_marks import (
    DiskOrigin,
    ReplicaMarks,
    is_ours,
    read_origin,
    read_point,
    read_unfinished,
    staging_name,
    write_disk_point,
    write_point,
    write_replica,
    write_unfinished,
)

SELF = "00000000-0000-4000-8000-00000000000a"
OTHER = "00000000-0000-4000-8000-00000000000b"
MARKS = ReplicaMarks(
    job=JobId("11111111-1111-4111-8111-111111111111"),
    schedules=(ScheduleId("22222222-2222-4222-8222-222222222222"), ScheduleId("nightly")),
    stamp=Stamp("20260102T030405Z"),
    vm=VmUuid("33333333-3333-4333-8333-333333333333"),
    vm_name="web",
    sr=SrUuid("55555555-5555-4555-8555-555555555555"),
)
ORIGIN = DiskOrigin(
    DiskSnapshotUuid("66666666-6666-4666-8666-666666666666"),
    DiskUuid("77777777-7777-4777-8777-777777777777"),
)
THEIRS = {
    "xo:backup:job": MARKS.job,
    "xo:backup:schedule": MARKS.schedules[0],
    "xo:backup:datetime": "20260102T03:04:05Z",
    "xo:backup:vm": MARKS.vm,
    "xo:backup:sr": MARKS.sr,
    "xo:copy_of": OTHER,
}


def test_a_point_is_one_on_the_object_it_was_written_for_alone():
    config = write_point(MARKS, SELF, {"folder": "/a"})
    assert config["folder"] == "/a"
    assert read_point(config, SELF) == MARKS
    assert read_point(config, OTHER) is None
    assert read_unfinished(config, SELF, "web") is None


def test_what_is_in_the_making_is_no_point():
    config = write_unfinished(MARKS, SELF, write_point(MARKS, SELF, {}))
    assert config["xo:backup:datetime"] == "19700101T000000Z", "so that it sorts first"
    assert read_point(config, SELF) is None
    assert read_unfinished(config, SELF, "[Importing…] web") == MARKS
    assert read_unfinished(config, OTHER, "[Importing…] web") is None, "somebody's clone of it"


def test_the_replica_itself_is_neither():
    config = write_replica(MARKS.sr, SELF, write_point(MARKS, SELF, {}))
    assert read_point(config, SELF) is None
    assert read_unfinished(config, SELF, "web") is None
    assert is_ours(config, SELF)
    assert not is_ours(config, OTHER)
    assert set(config) & MARK_KEYS == {"xo:backup:sr", "reconciler:owner", "reconciler:self"}


def test_what_was_made_and_not_marked_is_known_by_its_name():
    name = staging_name(MARKS.job, MARKS.vm, MARKS.stamp)
    copied = write_point(MARKS, OTHER, {})
    found = read_unfinished(copied, SELF, name)
    assert found is not None
    assert (found.job, found.vm, found.stamp, found.sr) == (
        MARKS.job,
        MARKS.vm,
        MARKS.stamp,
        MARKS.sr,
    )
    assert read_unfinished(copied, SELF, f"my {name}") is None
    assert read_unfinished({}, SELF, name) is None, "no replica's marks: anybody may name a VM so"
    assert read_unfinished(write_point(MARKS, SELF, {}), SELF, name) is None, "it is a point"


def test_a_disk_says_what_it_equals():
    config = write_disk_point(MARKS, ORIGIN, "content", SELF, {})
    assert config["xo:copy_of"] == ORIGIN.source
    assert config["xo:backup:contentKey"] == "content"
    assert read_origin(config) == ORIGIN
    assert read_origin(THEIRS) == DiskOrigin(DiskSnapshotUuid(OTHER), None)
    assert read_origin({"xo:copy_of": "x"}) is None


def test_replicas_of_other_tools_are_points_and_never_ours_to_remove():
    found = read_point(THEIRS, SELF)
    assert found is not None
    assert found.stamp == MARKS.stamp
    assert found.schedules == MARKS.schedules[:1]
    assert not is_ours(THEIRS, SELF)
    begun = {**THEIRS, "xo:backup:datetime": "19700101T000000Z"}
    assert read_point(begun, SELF) is None
    assert read_unfinished(begun, SELF, "[Importing…] web") is None


@pytest.mark.parametrize("missing", ["xo:backup:job", "xo:backup:vm", "xo:backup:datetime"])
def test_half_a_mark_is_none(missing):
    assert read_point({**THEIRS, missing: "x"}, SELF) is None
    assert read_point({key: THEIRS[key] for key in THEIRS if key != missing}, SELF) is None


def test_a_snapshot_of_a_replica_is_no_source_of_backups():
    assert read_marks(write_point(MARKS, SELF, {}), SELF) is None


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(sorted(MARK_KEYS)),
        st.text(max_size=30) | st.sampled_from([SELF, OTHER, MARKS.stamp, "reconciler"]),
    ),
    st.text(max_size=20),
)
def test_no_marks_crash_the_reader(config, name):
    read_point(config, SELF)
    read_unfinished(config, SELF, name)
    read_origin(config)
