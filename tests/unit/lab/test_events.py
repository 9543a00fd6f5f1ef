"""Events: one per object, as of now, from a token on."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.lab.database import Database
from reconciler.lab.events import Events
from reconciler.lab.failures import Failure
from reconciler.lab.lab import Lab
from reconciler.lab.sessions import Sessions
from reconciler.lab.settings import Settings
from reconciler.lab.store import Store
from reconciler.lab.values import Record

Listed = list[tuple[str, str, str]]


def listen(lab: Lab, classes: list[str], token: str, timeout: float = 0.0) -> tuple[Listed, str]:
    reply = lab.call("event.from", classes, token, timeout)
    assert isinstance(reply, dict)
    events = [(e["class"], e["operation"], e["ref"]) for e in reply["events"]]
    return events, str(reply["token"])


def test_everything_from_the_start(lab: Lab, web: str) -> None:
    events, token = listen(lab, ["VM"], "")
    assert {operation for _, operation, _ in events} == {"add"}
    assert web in {ref for _, _, ref in events}
    assert listen(lab, ["vm"], token)[0] == []


def test_an_object_comes_once_with_its_record_of_now(lab: Lab, web: str) -> None:
    _, token = listen(lab, ["*"], "")
    lab.call("VM.set_name_label", web, "one")
    lab.call("VM.set_name_label", web, "two")
    reply = lab.call("event.from", ["vm"], token, 1.0)
    assert isinstance(reply, dict)
    (event,) = reply["events"]
    assert event["operation"] == "mod"
    assert event["snapshot"]["name_label"] == "two"
    assert event["snapshot"]["VBDs"]


def test_what_was_never_seen_is_never_deleted(lab: Lab, web: str) -> None:
    _, token = listen(lab, ["task"], "")
    short = str(lab.call("task.create", "short", ""))
    lab.call("task.set_status", short, "success")
    lab.call("task.destroy", short)
    events, later = listen(lab, ["task"], token)
    assert events == []
    kept = str(lab.call("task.create", "kept", ""))
    _, seen = listen(lab, ["task"], later)
    lab.call("task.set_status", kept, "success")
    lab.call("task.destroy", kept)
    assert listen(lab, ["task"], seen)[0] == [("task", "del", kept)]
    assert listen(lab, [f"task/{kept}"], seen)[0] == [("task", "del", kept)]
    assert listen(lab, [f"task/{short}"], seen)[0] == []


def test_both_sides_of_a_relation_change(lab: Lab, web: str) -> None:
    _, token = listen(lab, ["*"], "")
    snapshot = str(lab.call("VM.snapshot", web, "snap"))
    events, token = listen(lab, ["VM"], token)
    assert set(events) == {("vm", "add", snapshot), ("vm", "mod", web)}
    lab.call("VM.destroy", snapshot)
    events, _ = listen(lab, ["VM"], token)
    assert set(events) == {("vm", "mod", web), ("vm", "del", snapshot)}


def test_inject_gives_a_token_from_just_before(lab: Lab, web: str) -> None:
    token = str(lab.call("event.inject", "VM", web))
    assert listen(lab, ["VM"], token)[0] == [("vm", "mod", web)]
    with pytest.raises(Failure, match="HANDLE_INVALID"):
        lab.call("event.inject", "vm", web)


def test_counts_reveal_what_vanished(lab: Lab) -> None:
    lab.call("task.create", "one", "")
    reply = lab.call("event.from", ["vm"], "", 0.0)
    assert isinstance(reply, dict)
    counts = reply["valid_ref_counts"]
    assert counts["task"] == 1
    assert "message" not in counts
    assert counts["vm"] == len(lab.pool.database.tables["VM"])


def test_bad_tokens_and_classes(lab: Lab) -> None:
    with pytest.raises(Failure, match="EVENT_FROM_TOKEN_PARSE_FAILURE"):
        lab.call("event.from", ["vm"], "soon", 0.0)
    with pytest.raises(Failure, match="EVENT_SUBSCRIPTION_PARSE_FAILURE"):
        lab.call("event.from", [""], "", 0.0)
    assert listen(lab, ["unheard-of"], "")[0] == []


def test_a_waiting_listener_is_woken(lab: Lab, web: str) -> None:
    _, token = listen(lab, ["vm"], "")
    timer = threading.Timer(0.05, lab.call, ("VM.set_name_label", web, "woken"))
    timer.start()
    assert listen(lab, ["vm"], token, 20.0)[0] == [("vm", "mod", web)]
    timer.join()


def test_logout_wakes_a_listener(lab: Lab) -> None:
    session = lab.pool.sessions.login(lab.user, lab.password, "", lab.pool.master)
    timer = threading.Timer(0.05, lab.pool.sessions.logout, (session,))
    timer.start()
    with pytest.raises(Failure, match="SESSION_INVALID"):
        lab.pool.events.listen(session, ["task/none"], "", 20.0)
    timer.join()


def test_the_old_way(lab: Lab, web: str) -> None:
    with pytest.raises(Failure, match="SESSION_NOT_REGISTERED"):
        lab.call("event.next")
    lab.call("event.register", ["vm"])
    lab.call("VM.set_name_label", web, "one")
    (event,) = lab.call("event.next")
    assert event["ref"] == web
    lab.call("event.unregister", ["vm"])


@given(
    st.lists(
        st.tuples(st.sampled_from(["create", "change", "destroy", "listen"]), st.integers(0, 5)),
        max_size=60,
    )
)
def test_a_listener_that_applies_events_knows_the_world(steps: list[tuple[str, int]]) -> None:
    store = Store(":memory:")
    database = Database(store)
    limits = Settings(event_batch_s=0.0)
    sessions = Sessions(database, limits, "root", "pw")
    events = Events(database, sessions, limits)
    session = sessions.login("root", "pw", "", "")
    known: dict[str, Record] = {}
    token, refs = "", list[str]()

    def apply() -> None:
        nonlocal token
        reply = events.listen(session, ["network"], token, 0.0)
        token = str(reply["token"])
        for event in reply["events"]:
            ref = event["ref"]
            operation = event["operation"]
            if operation == "del":
                del known[ref]
            else:
                assert (operation == "add") == (ref not in known)
                known[ref] = event["snapshot"]

    for step, number in steps:
        if step == "create":
            refs.append(database.create("network", {"name_label": str(number)}).ref)
        elif step == "listen":
            apply()
        elif refs:
            row = database.find("network", refs[number % len(refs)])
            if row is not None and step == "change":
                database.set(row, MTU=row.number("MTU") + 1)
            elif row is not None:
                database.destroy(row)
    apply()
    assert known == {row.ref: row.record() for row in database.rows("network")}
    database.close()
