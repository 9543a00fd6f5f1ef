"""Reviews as an API server sends them, as nobody should, and what is answered."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from reconciler.desired.problems import Problem
from reconciler.kube.admission import Change, Verdict
from reconciler.kube.objects import Raw
from reconciler.kube.review import NoReview, Review, read_review, write_answer

Ask = Callable[..., bytes]
WRONG = Problem(
    "x",
    0,
    0,
    "spec.schedules[0].cron is never due",
    "february has no 31st",
    object="BackupJob/nightly",
    field="spec.schedules[0].cron",
)
MISSING = Problem(
    "x",
    0,
    0,
    'there is no XenPool "lab"',
    object="BackupJob/nightly",
    waits=True,
    field="spec.poolRefs[0].name",
)


@pytest.fixture
def ask(make_object) -> Ask:
    """A review of a job that is new, but for what is said."""

    def ask(**more: Any) -> bytes:
        request = {
            "uid": "1",
            "operation": "CREATE",
            "object": make_object("BackupJob", "nightly"),
            "oldObject": None,
            **more,
        }
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
        return json.dumps({**review, "request": request}).encode()

    return ask


def test_an_object_is_read_as_the_server_has_it(ask: Ask, make_object) -> None:
    review = read_review(ask())
    assert review == Review("1", Change(make_object("BackupJob", "nightly")))
    old = make_object("BackupJob", "nightly", 2)
    review = read_review(ask(operation="UPDATE", oldObject=old))
    assert review.change is not None
    assert review.change.old == old


def test_an_object_that_was_given_no_uid_yet_can_be_judged(ask: Ask, make_object) -> None:
    raw: Any = make_object("BackupJob", "nightly")
    del raw["metadata"]["uid"], raw["metadata"]["creationTimestamp"]
    review = read_review(ask(object=raw))
    assert review.change is not None
    assert review.change.new["metadata"]["uid"]


@pytest.mark.parametrize(
    "more",
    [
        {"operation": "DELETE", "object": None, "oldObject": {}},
        {"operation": "CONNECT"},
        {"object": {"apiVersion": "apps/v1", "kind": "Deployment"}},
        {"object": None},
    ],
    ids=["deleted", "connected", "another's", "nothing"],
)
def test_what_is_not_ours_to_judge_is_let_through(ask: Ask, more: dict) -> None:
    review = read_review(ask(**more))
    assert review == Review("1")
    response = json.loads(write_answer(review, Verdict()))["response"]
    assert response == {"uid": "1", "allowed": True}


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


def shaped(make_object: Callable[..., Raw], **more: Any) -> Raw:
    raw = make_object("BackupJob", "nightly")
    metadata = {**raw["metadata"], **more.pop("metadata", {})}
    return {**raw, "metadata": metadata, **more}


@pytest.mark.parametrize(
    "more",
    [
        {"metadata": {"name": None}},
        {"metadata": {"namespace": ""}},
        {"metadata": {"uid": 7}},
        {"metadata": {"creationTimestamp": "yesterday"}},
        {"metadata": {"annotations": {"a": 1}}},
        {"metadata": {"annotations": ["a"]}},
        {"metadata": {"labels": {"a": {}}}},
        {"kind": ["BackupJob"]},
        {"status": "fine"},
        {"status": {"conditions": ["Ready"]}},
        {"spec": {"selector": deep(100)}},
        {"spec": {"poolRefs": [{"name": str(one)} for one in range(20_000)]}},
        {"spec": {"mode": "x" * 40_000}},
        {"spec": {"unheard": "of"}},
        {"spec": {"mode": ["Full"]}},
        {"kind": "BackupJobs"},
    ],
    ids=lambda more: json.dumps(more)[:40],
)
def test_an_object_that_no_server_would_have_taken_is_not_judged(
    ask: Ask, make_object, more: dict
) -> None:
    with pytest.raises(NoReview):
        read_review(ask(object=shaped(make_object, **more)))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"null",
        b"[]",
        b"7" * 5000,
        b"[" * 200_000,
        b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}',
        b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {}}',
        b'{"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview",'
        b' "request": {"uid": "1"}}',
    ],
    ids=range(10),
)
def test_nonsense_is_no_review(body: bytes) -> None:
    with pytest.raises(NoReview):
        read_review(body)


def test_no_object_becomes_another(ask: Ask, make_object) -> None:
    with pytest.raises(NoReview):
        read_review(ask(operation="UPDATE", oldObject=make_object("BackupJob", "another")))


def test_a_mistake_is_said_with_its_field_and_what_to_do(ask: Ask) -> None:
    review = read_review(ask())
    answer = json.loads(write_answer(review, Verdict((WRONG,))))
    assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response = answer["response"]
    assert (response["uid"], response["allowed"]) == ("1", False)
    status = response["status"]
    assert (status["code"], status["reason"]) == (422, "Invalid")
    assert status["message"] == (
        "BackupJob/nightly: spec.schedules[0].cron is never due (february has no 31st)"
    )
    assert status["details"]["causes"] == [
        {
            "reason": "FieldValueInvalid",
            "field": "spec.schedules[0].cron",
            "message": "is never due (february has no 31st)",
        }
    ]


@pytest.mark.parametrize(
    ("field", "message", "sentence", "cause"),
    [
        ("spec.at", "spec.at is missing", "spec.at is missing", "is missing"),
        ("spec.at", 'spec.at: "x" is no time', 'spec.at: "x" is no time', '"x" is no time'),
        ("spec.a[0]", "there is no b", "spec.a[0]: there is no b", "there is no b"),
        ("spec", "spec.at is missing", "spec: spec.at is missing", "spec.at is missing"),
        ("", "spec is missing", "spec is missing", "spec is missing"),
    ],
)
def test_a_field_is_named_once(
    ask: Ask, field: str, message: str, sentence: str, cause: str
) -> None:
    problem = Problem("x", 0, 0, message, object="BackupJob/nightly", field=field)
    status = json.loads(write_answer(read_review(ask()), Verdict((problem,))))["response"]["status"]
    assert status["message"] == f"BackupJob/nightly: {sentence}"
    assert status["details"]["causes"][0]["message"] == cause


def test_a_warning_lets_it_through(ask: Ask) -> None:
    response = json.loads(write_answer(read_review(ask()), Verdict((), (MISSING,))))["response"]
    assert response == {
        "uid": "1",
        "allowed": True,
        "warnings": ['BackupJob/nightly: spec.poolRefs[0].name: there is no XenPool "lab"'],
    }


def test_warnings_are_few_and_short_enough_for_a_server_to_pass_on(ask: Ask) -> None:
    many = tuple(
        Problem("x", 0, 0, "x" * 1000, str(number), object="BackupJob/nightly", field=f"f{number}")
        for number in range(100)
    )
    answer = json.loads(write_answer(read_review(ask()), Verdict((), many)))
    warnings = answer["response"]["warnings"]
    assert max(map(len, warnings)) <= 256
    assert sum(map(len, warnings)) <= 4096
    assert warnings[-1].startswith("and 85 more")
