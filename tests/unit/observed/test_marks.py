from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.ids import DiskUuid, JobId, ScheduleId, Stamp, VmUuid, instant_of
from reconciler.observed.marks import (
    CONTENT_KEY,
    DATETIME_KEY,
    GIVEN_UP_KEY,
    JOB_KEY,
    MARK_KEYS,
    OFFLINE_KEY,
    OWNER_KEY,
    SCHEDULES_KEY,
    SELF_KEY,
    VM_KEY,
    read_given_up,
    read_marks,
    read_offline,
    write_disk_marks,
    write_given_up,
    write_marks,
    write_offline,
)
from reconciler.observed.pool import GivenUp, Marks, ShutDown

SELF = "00000000-0000-4000-8000-00000000000a"
OTHER = "00000000-0000-4000-8000-00000000000b"
MARKS = Marks(
    job=JobId("11111111-1111-4111-8111-111111111111"),
    schedules=(ScheduleId("22222222-2222-4222-8222-222222222222"), ScheduleId("nightly")),
    stamp=Stamp("20260102T030405Z"),
    vm=VmUuid("33333333-3333-4333-8333-333333333333"),
    disks=(DiskUuid("44444444-4444-4444-8444-444444444444"),),
)
BARE = Marks(MARKS.job, (), MARKS.stamp, MARKS.vm)
ROLLING = Marks(MARKS.job, MARKS.schedules, MARKS.stamp, MARKS.vm, MARKS.disks, rolling=True)
ASKED_FOR = replace(BARE, requested=Stamp("20260102T030400Z"))


@pytest.mark.parametrize("marks", [MARKS, BARE, ROLLING, ASKED_FOR])
@pytest.mark.parametrize("write", [write_marks, write_disk_marks])
def test_marks_come_back_from_the_object_they_were_written_for(marks, write):
    assert read_marks(write(marks, SELF, {}), SELF) == marks


def test_what_was_given_up_is_read_from_the_vm_that_it_was_noted_on():
    first = GivenUp(MARKS.job, MARKS.stamp, MARKS.schedules, None, "TimedOut")
    second = GivenUp(JobId(OTHER), MARKS.stamp, (), Stamp("20260102T030400Z"), "RunCancelled")
    config = {GIVEN_UP_KEY: write_given_up([first, second], SELF)}
    assert read_given_up(config, SELF) == (first, second)
    assert read_given_up(config, OTHER) == ()
    assert read_given_up({}, SELF) == ()
    assert GIVEN_UP_KEY in MARK_KEYS


@pytest.mark.parametrize(
    "entry", ["", "x", f"{MARKS.job} never - TimedOut", f"{MARKS.job} {MARKS.stamp} 1 X"]
)
def test_what_makes_no_sense_was_not_given_up(entry):
    good = GivenUp(MARKS.job, MARKS.stamp, (), None, "TimedOut")
    config = {
        GIVEN_UP_KEY: f"{write_given_up([], SELF)};{entry};{MARKS.job} {MARKS.stamp} - TimedOut"
    }
    assert read_given_up(config, SELF) == (good,)


def test_marks_mean_nothing_on_a_copy():
    copied = write_marks(MARKS, SELF, {})
    assert read_marks(copied, OTHER) is None


def test_the_keys_are_the_ones_other_tools_know():
    config = write_disk_marks(MARKS, SELF, {})
    assert config[JOB_KEY] == MARKS.job
    assert config["xo:backup:schedule"] == MARKS.schedules[0]
    assert config[DATETIME_KEY] == "20260102T03:04:05Z"
    assert config[VM_KEY] == MARKS.vm
    assert config[CONTENT_KEY] == SELF


def test_marks_that_leaked_by_copying_are_replaced_and_the_rest_stays():
    leaked = dict.fromkeys(MARK_KEYS, "old") | {"mac_seed": "x", "folder": "/a"}
    config = write_marks(MARKS, SELF, leaked)
    assert {key: value for key, value in config.items() if key not in MARK_KEYS} == {
        "mac_seed": "x",
        "folder": "/a",
    }
    assert "old" not in config.values()
    assert "xo:backup:exported" not in config


def test_snapshots_of_others_have_no_marks():
    assert read_marks({}, SELF) is None
    foreign = write_marks(MARKS, SELF, {})
    del foreign[OWNER_KEY]
    assert read_marks(foreign, SELF) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (JOB_KEY, "../../etc"),
        (JOB_KEY, ""),
        (VM_KEY, "x"),
        (DATETIME_KEY, "20260102T030405Z"),
        (DATETIME_KEY, "20261302T03:04:05Z"),
        (DATETIME_KEY, "../x"),
        (SCHEDULES_KEY, "a/b"),
        (SCHEDULES_KEY, ".."),
        (SCHEDULES_KEY, "a," * 1000),
        ("reconciler:disks", "not-a-uuid"),
    ],
)
def test_marks_that_make_no_sense_are_said_to(key, value):
    config = write_marks(MARKS, SELF, {}) | {key: value}
    with pytest.raises(ValueError):
        read_marks(config, SELF)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(MARK_KEYS)), st.text(max_size=40)))
def test_no_marks_raise_anything_else(noise):
    config = {**write_marks(MARKS, SELF, {}), **noise, OWNER_KEY: "reconciler", SELF_KEY: SELF}
    try:
        read_marks(config, SELF)
    except ValueError:
        return


def test_a_vm_that_was_shut_down_says_by_whom_and_when():
    down = ShutDown(MARKS.job, instant_of(MARKS.stamp))
    config = {OFFLINE_KEY: write_offline(down, SELF)}
    assert read_offline(config, SELF) == down
    assert read_offline(config, OTHER) is None, "a copy of it was not shut down"
    assert OFFLINE_KEY not in write_marks(MARKS, OTHER, config), "nor is a snapshot"


@pytest.mark.parametrize("value", ["", SELF, f"{SELF} x 20260102T030405Z", f"{SELF} {OTHER} now"])
def test_nonsense_says_nothing_about_a_shut_down(value):
    assert read_offline({OFFLINE_KEY: value}, SELF) is None
