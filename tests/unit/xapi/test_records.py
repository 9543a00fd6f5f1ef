from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.xapi.errors import BadRecord
from reconciler.xapi.records import (
    HostRecord,
    PoolRecord,
    SrRecord,
    VbdRecord,
    VdiRecord,
    VmRecord,
)

UUID = "01234567-89ab-cdef-0123-456789abcdef"
KINDS = [PoolRecord, HostRecord, SrRecord, VmRecord, VbdRecord, VdiRecord]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    sorted(
        {
            *("uuid", "name_label", "power_state", "VBDs", "VM", "VDI", "type", "tags", "master"),
            *("is_a_template", "is_default_template", "is_a_snapshot", "is_control_domain"),
            *("snapshot_of", "snapshot_time", "current_operations", "other_config", "address"),
            *("virtual_size", "SR", "userdevice", "currently_attached", "software_version"),
        }
    )
)


def test_a_vm_is_read_and_the_rest_is_kept_raw():
    record = {
        "uuid": UUID,
        "name_label": "web",
        "power_state": "Running",
        "is_a_template": False,
        "is_a_snapshot": False,
        "is_control_domain": False,
        "snapshot_of": "OpaqueRef:NULL",
        "snapshot_time": "19700101T00:00:00Z",
        "tags": ["prod"],
        "current_operations": {"OpaqueRef:t": "migrate_send", "OpaqueRef:u": "export"},
        "VBDs": ["OpaqueRef:b"],
        "other_config": {"a": "b"},
        "a_field_of_next_year": {"x": [1]},
    }
    vm = VmRecord.of("OpaqueRef:v", record)
    assert vm.uuid == UUID
    assert vm.operations == ("export", "migrate_send")
    assert vm.snapshot_of is None
    assert vm.snapshot_time is None
    assert vm.raw is record


def test_a_bare_record_has_defaults():
    vm = VmRecord.of("OpaqueRef:v", {"uuid": UUID})
    assert (vm.name, vm.tags, vm.vbds, vm.is_snapshot) == ("", (), (), False)


@pytest.mark.parametrize("size", [5, "5"])
def test_a_size_may_be_text(size):
    assert VdiRecord.of("r", {"uuid": UUID, "virtual_size": size}).size_bytes == 5


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("20261122T20:57:53Z", datetime(2026, 11, 22, 20, 57, 53, tzinfo=UTC)),
        ("20261122T20:57:53.123Z", datetime(2026, 11, 22, 20, 57, 53, tzinfo=UTC)),
        ("20261122T205753Z", datetime(2026, 11, 22, 20, 57, 53, tzinfo=UTC)),
        ("20261322T20:57:53Z", None),
        ("yesterday", None),
        (3, None),
    ],
)
def test_an_instant_is_read_or_nothing(text, instant):
    assert VmRecord.of("r", {"uuid": UUID, "snapshot_time": text}).snapshot_time == instant


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (VmRecord, {"uuid": "../../etc/passwd"}),
        (VmRecord, {"uuid": UUID.upper()}),
        (VmRecord, {"uuid": None}),
        (VmRecord, {}),
        (VmRecord, {"uuid": UUID, "name_label": 3}),
        (VmRecord, {"uuid": UUID, "is_a_snapshot": "false"}),
        (VmRecord, {"uuid": UUID, "tags": "x"}),
        (VmRecord, {"uuid": UUID, "tags": [3]}),
        (VmRecord, {"uuid": UUID, "tags": ["x"] * 5000}),
        (VmRecord, {"uuid": UUID, "other_config": []}),
        (VmRecord, {"uuid": UUID, "snapshot_of": "x" * 5000}),
        (VdiRecord, {"uuid": UUID, "virtual_size": -1}),
        (VdiRecord, {"uuid": UUID, "virtual_size": 1 << 64}),
        (VdiRecord, {"uuid": UUID, "virtual_size": "٣"}),
        (VdiRecord, {"uuid": UUID, "virtual_size": "9" * 5000}),
        (VdiRecord, {"uuid": UUID, "virtual_size": True}),
        (VdiRecord, {"uuid": UUID, "virtual_size": 1.5}),
        (VbdRecord, {"uuid": UUID, "VDI": 3}),
        (PoolRecord, {"uuid": UUID, "master": []}),
        (HostRecord, {"uuid": UUID, "software_version": "x"}),
    ],
)
def test_nonsense_in_a_deciding_field_is_said(kind, fields):
    with pytest.raises(BadRecord):
        kind.of("OpaqueRef:1", fields)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(extra=st.dictionaries(FIELDS, JSON, max_size=6))
def test_no_record_raises_anything_else(kind, extra):
    try:
        kind.of("OpaqueRef:1", {"uuid": UUID, **extra})
    except BadRecord:
        return


def test_huge_names_are_clipped():
    assert len(VmRecord.of("r", {"uuid": UUID, "name_label": "x" * 10_000_000}).name) == 1024
