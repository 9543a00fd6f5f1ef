import pytest

from reconciler.xapi.deadlines import (
    Deadlines,
    answer_bytes_max,
    changes_the_pool,
    is_idempotent,
)


@pytest.mark.parametrize(
    ("method", "may_be_repeated"),
    [
        ("VM.get_record", True),
        ("VM.get_all_records", True),
        ("VM.set_name_label", True),
        ("VM.set_is_a_template", True),
        ("VM.remove_from_other_config", True),
        ("event.from", True),
        ("task.destroy", True),
        ("VM.add_to_other_config", False),
        ("VM.add_tags", False),
        ("VDI.create", False),
        ("VM.snapshot", False),
        ("VM.destroy", False),
        ("task.create", False),
        ("Async.VM.snapshot", False),
        ("Async.VM.set_memory_limits", False),
        ("Async.VDI.get_something", False),
    ],
)
def test_only_reads_and_setters_may_be_repeated(method, may_be_repeated):
    assert is_idempotent(method) is may_be_repeated


def test_each_kind_of_call_has_its_deadline():
    deadlines = Deadlines(read_s=1, write_s=2, listing_s=3, poll_margin_s=4)
    assert deadlines.of_call("VM.get_record", ("ref",)) == 1
    assert deadlines.of_call("VM.set_name_label", ("ref", "x")) == 2
    assert deadlines.of_call("VM.get_all_records", ()) == 3
    assert deadlines.of_call("event.from", (["VM"], "", 30.0)) == 34
    assert deadlines.of_call("event.from", ()) == 4


def test_only_listings_may_be_large():
    assert answer_bytes_max("VM.get_record") < answer_bytes_max("VM.get_all_records")
    assert answer_bytes_max("event.from") == answer_bytes_max("VM.get_all_records")


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("VM.get_record", False),
        ("event.from", False),
        ("session.logout", False),
        ("task.create", False),
        ("task.cancel", False),
        ("system.listMethods", False),
        ("VM.set_name_label", True),
        ("VM.snapshot", True),
        ("Async.VM.snapshot", True),
        ("VDI.destroy", True),
        ("VM.remove_from_other_config", True),
        ("SR.scan", True),
    ],
)
def test_what_changes_the_pool_is_told_by_its_name(method, changes):
    assert changes_the_pool(method) is changes
