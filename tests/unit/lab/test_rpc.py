"""Calls as XAPI answers them: names, counts, types, errors, tasks."""

import pytest

from reconciler.lab.failures import Failure
from reconciler.lab.lab import Lab
from reconciler.lab.schema import TABLES
from reconciler.lab.values import NULL, Record, Value


def refused(lab: Lab, method: str, *parameters: Value) -> list[str]:
    with pytest.raises(Failure) as caught:
        lab.call(method, *parameters)
    return caught.value.description


def finished(lab: Lab, method: str, *parameters: Value) -> Record:
    """The record of an asynchronous call's task at its end."""
    task = str(lab.call(f"Async.{method}", *parameters))
    row = lab.pool.tasks.wait(task, 20.0)
    assert row is not None
    return row.record()


def test_both_names_of_a_message(lab: Lab) -> None:
    task = lab.call("task_create", "one", "")
    lab.call("task_set_status", task, "success")
    assert lab.call("task.get_status", task) == "success"


def test_every_class_lists_its_records(lab: Lab) -> None:
    names = lab.call("system.listMethods")
    assert isinstance(names, list)
    for table in TABLES.values():
        if table.listed:
            assert f"{table.name}.get_all_records" in names
            assert isinstance(lab.call(f"{table.name}.get_all_records"), dict)
    for removed in ("VMPP", "VIF_metrics", "VBD_metrics"):
        assert f"{removed}.get_all_records" in names
        assert refused(lab, f"{removed}.get_all_records") == ["MESSAGE_REMOVED"]


def test_wrong_calls(lab: Lab, web: str) -> None:
    assert refused(lab, "VM.fly", web) == ["MESSAGE_METHOD_UNKNOWN", "VM.fly"]
    assert refused(lab, "VM.get_record", "OpaqueRef:x") == ["HANDLE_INVALID", "VM", "OpaqueRef:x"]
    assert refused(lab, "VM.get_by_uuid", "x") == ["UUID_INVALID", "VM", "x"]
    count = "MESSAGE_PARAMETER_COUNT_MISMATCH"
    assert refused(lab, "VM.get_record") == [count, "VM.get_record", "1", "0"]
    assert refused(lab, "VM.get_record", web, web) == [count, "VM.get_record", "1", "2"]
    assert refused(lab, "VM.set_is_a_template", web, "yes")[0] == "FIELD_TYPE_ERROR"
    assert refused(lab, "VM.set_tags", web, "one")[0] == "FIELD_TYPE_ERROR"
    assert refused(lab, "VM.set_user_version", web, "many")[0] == "FIELD_TYPE_ERROR"
    assert refused(lab, "VM.set_actions_after_reboot", web, "sleep")[0] == "INVALID_VALUE"
    assert refused(lab, "Async.VM.set_name_label", web, "x")[0] == "Fault"
    assert refused(lab, "VM.create", {"name_label": "x"})[0] == "INTERNAL_ERROR"


def test_extra_arguments_are_ignored_where_there_are_defaults(lab: Lab, web: str) -> None:
    disk = lab.disk("web").ref
    assert lab.call("VDI.snapshot", disk, {}, "extra")


def test_numbers_may_come_as_text(lab: Lab, web: str) -> None:
    lab.call("VM.set_user_version", web, "7")
    assert lab.call("VM.get_user_version", web) == 7


def test_a_map_takes_a_key_once(lab: Lab, web: str) -> None:
    lab.call("VM.add_to_other_config", web, "key", "one")
    error = refused(lab, "VM.add_to_other_config", web, "key", "two")
    assert error == ["MAP_DUPLICATE_KEY", "VM", "other_config", web, "key"]
    lab.call("VM.remove_from_other_config", web, "key")
    lab.call("VM.remove_from_other_config", web, "key")
    # keys of a map are data: none of them may be taken for a name of ours
    for key in ("self", "row", "field", "changes"):
        lab.call("VM.add_to_other_config", web, key, "x")
    other = lab.call("VM.get_other_config", web)
    assert isinstance(other, dict)
    assert {"self", "row", "field", "changes"} <= set(other)


def test_a_set_takes_a_member_once(lab: Lab, web: str) -> None:
    for tag in ("one", "one", "two"):
        lab.call("VM.add_tags", web, tag)
    lab.call("VM.remove_tags", web, "backup")
    lab.call("VM.remove_tags", web, "backup")
    assert lab.call("VM.get_tags", web) == ["one", "two"]


def test_relations_show_on_both_sides(lab: Lab, web: str) -> None:
    vdi = lab.disk("web").ref
    vbds = lab.call("VDI.get_VBDs", vdi)
    assert isinstance(vbds, list)
    assert set(vbds) <= set(lab.pool.database.row("VM", web).members("VBDs"))
    lab.call("VBD.destroy", vbds[0])
    assert lab.call("VDI.get_VBDs", vdi) == []


def test_queries(lab: Lab, web: str) -> None:
    wish = 'field "is_a_template" = "false" and not (field "is_control_domain" = "true")'
    records = lab.call("VM.get_all_records_where", wish)
    assert isinstance(records, dict)
    assert list(records) == [web]
    assert refused(lab, "VM.get_all_where", "field (")[0] == "INTERNAL_ERROR"


def test_an_asynchronous_call_ends_in_its_task(lab: Lab, web: str) -> None:
    task = finished(lab, "VM.snapshot", web, "snap")
    snapshot = lab.call("VM.get_by_name_label", "snap")
    assert isinstance(snapshot, list)
    assert task["status"] == "success"
    assert task["result"] == f"<value>{snapshot[0]}</value>"
    assert task["allowed_operations"] == []
    assert finished(lab, "VM.hard_reboot", web)["error_info"] == [
        "VM_BAD_POWER_STATE",
        web,
        "paused, running",
        "halted",
    ]
    # a reference to nothing fails in the task, a wrong count at once
    missing = finished(lab, "VM.destroy", "OpaqueRef:x")
    assert missing["error_info"] == ["HANDLE_INVALID", "VM", "OpaqueRef:x"]
    assert refused(lab, "Async.VM.destroy")[0] == "MESSAGE_PARAMETER_COUNT_MISMATCH"
    assert finished(lab, "VM.update_allowed_operations", web)["result"] == ""


def test_a_pending_task_is_destroyed_once_it_ends(lab: Lab) -> None:
    task = str(lab.call("task.create", "mine", ""))
    lab.call("task.destroy", task)
    assert lab.call("task.get_status", task) == "pending"
    lab.call("task.set_status", task, "cancelled")
    assert refused(lab, "task.get_status", task) == ["HANDLE_INVALID", "task", task]


def test_sessions_end(lab: Lab) -> None:
    dispatcher, master = lab._dispatcher, lab.pool.master
    login: list[Value] = [lab.user, lab.password]
    session = dispatcher.call("session.login_with_password", list(login), master)
    dispatcher.call("session.logout", [session], master)
    with pytest.raises(Failure, match="SESSION_INVALID"):
        dispatcher.call("VM.get_all", [session], master)
    with pytest.raises(Failure, match="SESSION_AUTHENTICATION_FAILED"):
        dispatcher.call("session.login_with_password", [lab.user, "wrong"], master)


def test_only_so_many_sessions_of_one_originator(lab: Lab) -> None:
    lab.pool.settings.sessions_per_originator = 3
    dispatcher, master = lab._dispatcher, lab.pool.master
    refs = [
        dispatcher.call(
            "session.login_with_password", [lab.user, lab.password, "1.0", "me"], master
        )
        for _ in range(4)
    ]
    assert [lab.pool.sessions.alive(str(ref)) for ref in refs] == [False, True, True, True]


def test_a_session_ends_after_a_day(lab: Lab) -> None:
    sessions = lab.pool.sessions
    session = sessions.login(lab.user, lab.password, "", lab.pool.master)
    started = sessions.clock()
    sessions.clock = lambda: started + 24 * 3600 - 60
    sessions.check(session)
    sessions.clock = lambda: started + 2 * 24 * 3600
    with pytest.raises(Failure, match="SESSION_INVALID"):
        sessions.check(session)


def test_messages(lab: Lab, web: str) -> None:
    uuid = lab.call("VM.get_uuid", web)
    ref = lab.call("message.create", "NOTE", 3, "VM", uuid, "text")
    since = lab.call("message.get_since", "19700101T00:00:00Z")
    assert isinstance(since, dict)
    assert since[str(ref)]["body"] == "text"
    assert refused(lab, "message.create", "NOTE", 3, "VM", "x", "text")[0] == "UUID_INVALID"


def test_unknown_references_in_a_record_are_refused(lab: Lab, web: str) -> None:
    wish: Record = {
        "VM": web,
        "VDI": "OpaqueRef:x",
        "userdevice": "autodetect",
        "bootable": False,
        "mode": "RW",
        "type": "Disk",
        "empty": False,
        "other_config": {},
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
    }
    assert refused(lab, "VBD.create", wish) == ["HANDLE_INVALID", "VDI", "OpaqueRef:x"]
    wish |= {"VDI": lab.disk("web").ref, "userdevice": "0"}
    assert refused(lab, "VBD.create", wish) == ["DEVICE_ALREADY_EXISTS", "0"]
    wish["userdevice"] = "autodetect"
    assert lab.call("VBD.get_userdevice", lab.call("VBD.create", wish)) == "2"


def test_null_is_no_object(lab: Lab) -> None:
    assert refused(lab, "VDI.get_record", NULL) == ["HANDLE_INVALID", "VDI", NULL]


def test_only_what_may_change_something_is_counted(lab: Lab, web: str) -> None:
    before = len(lab.changes)
    lab.call("VM.get_record", web)
    lab.call("event.from", ["vm"], "", 0.0)
    lab.call("VM.get_all_records_where", "true")
    assert len(lab.changes) == before
    lab.call("VM.set_name_label", web, "renamed")
    lab.call("Async.VM.update_allowed_operations", web)
    assert lab.changes[before:] == ["VM.set_name_label", "Async.VM.update_allowed_operations"]
