"""The database keeps what it was told, also over a restart."""

from pathlib import Path

import pytest

from reconciler.lab.database import Database
from reconciler.lab.failures import Failure
from reconciler.lab.store import Store
from reconciler.lab.values import NULL, DateTime


def open_database(path: Path) -> Database:
    return Database(Store(str(path / "database.sqlite")))


def test_objects_and_documents_survive(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    sr = database.create("SR", {"name_label": "storage"})
    vdi = database.create("VDI", {"SR": sr.ref, "snapshot_time": DateTime("20260101T00:00:00Z")})
    task = database.create("task", {"name_label": "gone after a restart"})
    database.put_document("disk", "key", {"a": 1})
    generation = database.generation
    database.close()
    again = open_database(tmp_path)
    assert again.generation > generation
    assert again.row("VDI", vdi.ref).record() == vdi.record()
    assert isinstance(again.row("VDI", vdi.ref).values["snapshot_time"], DateTime)
    assert again.row("SR", sr.ref).members("VDIs") == [vdi.ref]
    assert again.find("task", task.ref) is None
    assert again.document("disk", "key") == {"a": 1}
    again.drop_document("disk", "key")
    again.destroy(again.row("VDI", vdi.ref))
    again.close()
    third = open_database(tmp_path)
    assert third.document("disk", "key") is None
    assert third.find("VDI", vdi.ref) is None
    third.close()


def test_reverse_sets_follow(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    one, two = database.create("SR", {}), database.create("SR", {})
    vdi = database.create("VDI", {"SR": one.ref})
    database.set(vdi, SR=two.ref)
    assert (one.members("VDIs"), two.members("VDIs")) == ([], [vdi.ref])
    database.set(vdi, SR=NULL)
    assert two.members("VDIs") == []
    database.set(vdi, SR=one.ref)
    database.destroy(vdi)
    assert one.members("VDIs") == []
    database.close()


def test_records_handed_out_do_not_change(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    row = database.create("network", {"other_config": {"a": "1"}})
    before = row.record()
    database.update_map(row, "other_config", {"a": None, "b": "2"})
    assert before["other_config"] == {"a": "1"}
    assert row.mapping("other_config") == {"b": "2"}
    database.close()


def test_an_unchanged_value_is_no_change(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    row = database.create("network", {"MTU": 9000})
    generation = database.generation
    database.set(row, MTU=9000)
    assert database.generation == generation
    database.close()


def test_a_destroyed_object_is_invalid(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    row = database.create("network", {})
    uuid = row.text("uuid")
    database.destroy(row)
    database.destroy(row)
    for attempt in (
        lambda: database.row("network", row.ref),
        lambda: database.set(row, MTU=1),
        lambda: database.by_uuid("network", uuid),
        lambda: database.by_ref_or_uuid("network", row.ref),
    ):
        with pytest.raises(Failure, match=r"HANDLE_INVALID|UUID_INVALID"):
            attempt()
    database.close()
