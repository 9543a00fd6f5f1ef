"""Whatever comes is a review that can be judged and answered, or none; nothing else happens."""

import copy
import json
from contextlib import suppress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.kube.admission import Verdict, judge, unseen
from reconciler.kube.review import NoReview, read_review, write_answer
from reconciler.kube.shelf import Shelved

JOB = {
    "apiVersion": "backup.reconciler.io/v1alpha1",
    "kind": "BackupJob",
    "metadata": {
        "name": "nightly",
        "namespace": "default",
        "uid": "6b1d6a0e-9f0c-4c55-8a54-9d3cdd1f4f31",
        "creationTimestamp": "2026-01-05T02:00:00Z",
        "labels": {"team": "shop"},
        "annotations": {"backup.reconciler.io/run-at": "2026-01-05T02:00:00Z"},
    },
    "spec": {
        "poolRefs": [{"name": "lab"}],
        "selector": {"matchTags": ["prod"]},
        "targets": [{"remoteRef": {"name": "cellar"}}, {"srRef": {"name": "fast"}}],
        "schedules": [{"name": "night", "cron": "0 2 * * *", "retention": {"last": 3}}],
    },
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}
REVIEW = {
    "apiVersion": "admission.k8s.io/v1",
    "kind": "AdmissionReview",
    "request": {"uid": "1", "operation": "UPDATE", "object": JOB, "oldObject": JOB},
}
KINDS = ("XenPool", "BackupRemote", "BackupJob", "Restore", "BackupRun", "ProtectedVM")
NAMES = st.sampled_from(["name", "spec", "kind", "metadata", "remoteRef", "status", "x", ""])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([*KINDS, "True", "2026-01-05T02:00:00Z", "0 0 31 2 *", "default"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a tree where something else could stand."""
    found: list[tuple[Any, Any]] = []
    match value:
        case dict():
            pairs = list(value.items())
        case list():
            pairs = list(enumerate(value))
        case _:
            return found
    for key, inner in pairs:
        found += [(value, key), *places(inner)]
    return found


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_review_in_which_anything_is_anything_else(data: st.DataObject) -> None:
    review: Any = copy.deepcopy(REVIEW)
    review["request"]["object"]["kind"] = data.draw(st.sampled_from(KINDS))
    if data.draw(st.booleans()):
        review["request"]["oldObject"] = None
    for _ in range(data.draw(st.integers(0, 3))):
        holder, key = data.draw(st.sampled_from(places(review)))
        if data.draw(st.booleans()):
            holder[key] = data.draw(VALUES)
        elif isinstance(holder, dict):
            holder.pop(key, None)
    judged(json.dumps(review).encode())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_what_is_anything_at_all(body: bytes) -> None:
    judged(body)


def judged(body: bytes) -> None:
    with suppress(NoReview):
        review = read_review(body)
        verdict = Verdict()
        if review.change is not None:
            unseen(review.change, Shelved())
            verdict = judge(review.change, Shelved())
        response = json.loads(write_answer(review, verdict))["response"]
        assert response["uid"] == review.uid
        assert response["allowed"] == (not verdict.mistakes)
