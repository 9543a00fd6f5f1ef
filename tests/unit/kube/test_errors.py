"""Answers other than success."""

import pytest

from reconciler.kube.errors import (
    BadAnswer,
    Busy,
    Conflict,
    Expired,
    Forbidden,
    LoginRefused,
    Missing,
    Rejected,
    error_of,
)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Rejected),
        (401, LoginRefused),
        (403, Forbidden),
        (404, Missing),
        (409, Conflict),
        (410, Expired),
        (418, BadAnswer),
        (422, Rejected),
        (429, Busy),
        (503, Busy),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[Exception]) -> None:
    error = error_of(status, "why")
    assert type(error) is kind
    assert (error.status, str(error)) == (status, "why")


@pytest.mark.parametrize(("header", "wait_s"), [("3", 3.0), (None, None), ("soon", None)])
def test_a_busy_server_may_say_when(header: str | None, wait_s: float | None) -> None:
    error = error_of(429, "why", header)
    assert isinstance(error, Busy)
    assert error.retry_after_s == wait_s
