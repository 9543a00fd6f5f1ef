"""Reviews of an API server before it keeps an object: AdmissionReview v1, in and out. Pure.

Nothing that comes is trusted to be what an API server sends: whatever it is, it is a review that
can be judged, or none.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reconciler.desired.envelope import API_VERSION, GROUP
from reconciler.desired.problems import Problem
from reconciler.kube.admission import Change, Verdict
from reconciler.kube.bounds import is_bounded
from reconciler.kube.objects import Raw, identity_of

_VERSION, _KIND = "admission.k8s.io/v1", "AdmissionReview"
_WARNING_MAX = 250  # characters; of longer ones the server cuts off the end
_WARNINGS_MAX = 15  # of all of them it keeps 4096 characters
_CAUSES_MAX = 50
_UNPROCESSABLE = 422  # what it says of an object that its schema does not take
_UNSAID = {
    "uid": "00000000-0000-0000-0000-000000000000",
    "creationTimestamp": "1970-01-01T00:00:00Z",
}


class NoReview(ValueError):
    """What came is no review, or not one that can be judged."""


@dataclass(frozen=True, slots=True)
class Review:
    """uid: to be said again in the answer. change: None if there is nothing of ours to judge."""

    uid: str
    change: Change | None = None


# ── what is asked ──


def read_review(body: bytes) -> Review:
    """Read what an API server asks. Raises NoReview."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NoReview(str(error)) from error
    request = _mapping(_mapping(said).get("request"))
    if said.get("apiVersion") != _VERSION or said.get("kind") != _KIND:
        raise NoReview(f"not an {_KIND} of {_VERSION}")
    uid = _text(request.get("uid"))
    if request.get("operation") not in ("CREATE", "UPDATE"):
        return Review(uid)
    new, old = _ours(request.get("object")), _ours(request.get("oldObject"))
    if new is None:
        return Review(uid)
    if old is not None and identity_of(old) != identity_of(new):
        raise NoReview("no object becomes another")
    return Review(uid, Change(new, old))


def _ours(value: object) -> Raw | None:
    """Return an object of ours in the shape that every server gives it; None for others'."""
    if value is None:
        return None
    raw = _mapping(value)
    if raw.get("apiVersion") != API_VERSION:
        return None
    metadata = {**_UNSAID, **_mapping(raw.get("metadata"))}
    for text in (raw.get("kind"), *map(metadata.get, ("namespace", "name", *_UNSAID))):
        _text(text)
    if not is_bounded(raw["kind"], raw.get("spec")):
        raise NoReview(f"no server lets a {raw['kind']} like this through")
    for key in ("labels", "annotations"):
        for text in _mapping(metadata.get(key) or {}).values():
            _text(text, empty=True)
    try:
        datetime.fromisoformat(metadata["creationTimestamp"])
    except ValueError as error:
        raise NoReview(str(error)) from error
    for condition in _mapping(raw.get("status") or {}).get("conditions") or ():
        _mapping(condition)
    return {**raw, "metadata": metadata}


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise NoReview("a mapping is missing, or is none")
    return value


def _text(value: object, *, empty: bool = False) -> str:
    if not isinstance(value, str) or not (value or empty):
        raise NoReview("a text is missing, or is none")
    return value


# ── what is answered ──


def write_answer(review: Review, verdict: Verdict) -> bytes:
    """Write what the server, and through it kubectl, is told."""
    response: dict[str, Any] = {"uid": review.uid, "allowed": not verdict.mistakes}
    if verdict.mistakes and review.change is not None:
        response["status"] = _status(review.change.new, verdict.mistakes)
    if verdict.warnings:
        response["warnings"] = list(_warnings(verdict.warnings))
    answer = {"apiVersion": _VERSION, "kind": _KIND, "response": response}
    return json.dumps(answer).encode()


def _status(raw: Raw, mistakes: tuple[Problem, ...]) -> dict[str, Any]:
    """Say mistakes as a server says those that its schema finds: each with its field."""
    identity = identity_of(raw)
    return {
        "status": "Failure",
        "code": _UNPROCESSABLE,
        "reason": "Invalid",
        "message": f"{identity}: {'; '.join(_sentence(one) for one in mistakes[:_CAUSES_MAX])}",
        "details": {
            "group": GROUP,
            "kind": identity.kind,
            "name": identity.name,
            "causes": [
                {"reason": "FieldValueInvalid", "field": one.field, "message": _words(one)}
                for one in mistakes[:_CAUSES_MAX]
            ],
        },
    }


def _warnings(warnings: Iterable[Problem]) -> Iterable[str]:
    said = list(dict.fromkeys(f"{one.object}: {_sentence(one)}" for one in warnings))
    for text in said[:_WARNINGS_MAX]:
        yield text if len(text) <= _WARNING_MAX else f"{text[: _WARNING_MAX - 1]}…"
    if len(said) > _WARNINGS_MAX:
        yield f"and {len(said) - _WARNINGS_MAX} more; the status of the object has them"


def _sentence(problem: Problem) -> str:
    """Say what is wrong with which field, and what to do."""
    message = problem.message
    if problem.field and _without_field(problem) == message:
        message = f"{problem.field}: {message}"
    return _with_hint(problem, message)


def _words(problem: Problem) -> str:
    """Say what is wrong and what to do, without the field, which stands before it."""
    return _with_hint(problem, _without_field(problem))


def _with_hint(problem: Problem, message: str) -> str:
    return f"{message} ({problem.hint})" if problem.hint else message


def _without_field(problem: Problem) -> str:
    """Return the message, less the field if it begins with that."""
    for end in (": ", " "):
        if problem.message.startswith(problem.field + end):
            return problem.message.removeprefix(problem.field + end)
    return problem.message
