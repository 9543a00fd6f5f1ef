"""What restores write down on a pool, read back; and what means nothing there."""

import pytest

from reconciler.ids import RestoreId, Stamp, VmUuid
from reconciler.observed.restore_marks import (
    read_records,
    read_restored,
    read_restoring,
    without_restoring,
    write_done,
    write_record,
    write_restored,
    write_restoring,
)
from reconciler.observed.restored import RestoreRecord

RESTORE = RestoreId("0c7f6f5e-3c0b-4d0f-9a43-2f2d6a1f7f10")
VM = VmUuid("6b1d6a0e-9f0c-4c55-8a54-9d3cdd1f4f31")
NEW, COPY = "11111111-2222-4333-8444-555555555555", "99999999-2222-4333-8444-555555555555"
RECORD = RestoreRecord(RESTORE, VM, Stamp("20260131T020000Z"), "a1b2c3")


def test_what_is_being_made_says_so_from_the_start() -> None:
    config = write_restoring(RESTORE)
    assert read_restoring(config, NEW) == RESTORE
    assert read_restored(config, NEW) is None


def test_a_copy_of_it_means_nothing() -> None:
    config = write_restoring(RESTORE, NEW)
    assert read_restoring(config, NEW) == RESTORE
    assert read_restoring(config, COPY) is None
    whole = write_restored(RESTORE, NEW, config)
    assert read_restored(whole, NEW) == RESTORE
    assert read_restored(whole, COPY) is None


def test_what_is_whole_is_not_in_the_making() -> None:
    whole = write_restored(RESTORE, NEW, {"mine": "1"} | write_restoring(RESTORE, NEW))
    assert read_restoring(whole, NEW) is None
    assert without_restoring({"mine": "1"} | write_restoring(RESTORE, NEW)) == {"mine": "1"}


def test_a_record_comes_back() -> None:
    begun = dict([write_record(RECORD)])
    assert list(read_records(begun)) == [RECORD]
    (done,) = read_records({**begun, **dict([write_done(RESTORE, NEW)])})
    assert done.made == NEW


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("reconciler:restore:x", f"{VM} 20260131T020000Z a"),
        (f"reconciler:restore:{RESTORE}", "somewhere 20260131T020000Z a"),
        (f"reconciler:restore:{RESTORE}", f"{VM} yesterday a"),
        (f"reconciler:restore:{RESTORE}", ""),
        (f"reconciler:restored:{RESTORE}", NEW),
        ("xo:backupNetwork", "x"),
    ],
)
def test_what_makes_no_sense_is_left_out(key: str, value: str) -> None:
    assert list(read_records({key: value})) == []
