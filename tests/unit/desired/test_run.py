"""Kind BackupRun: what it asks for."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from reconciler.desired.resolve import Resolution, resolve
from reconciler.desired.state import Cancellation, RunRequest
from reconciler.ids import JobName, RunId
from reconciler.sources.documents import parse_file

Resolve = Callable[..., Resolution]
AT = datetime(2026, 1, 31, 14, 30, tzinfo=UTC)
NIGHTLY = JobName("nightly")
RUN = """
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupRun
metadata: {name: before-the-upgrade}
spec: {jobRef: {name: nightly}, at: "2026-01-31T14:30:00Z"}
"""


def test_it_asks_for_a_run(resolved: Resolve, pool: str, remote: str, job: str) -> None:
    desired = resolved(a=pool, b=remote, c=job, d=RUN).desired
    assert desired.problems == ()
    assert desired.requests == (RunRequest(NIGHTLY, AT),)
    assert desired.cancellations == ()


def test_it_can_be_cancelled(resolved: Resolve, pool: str, remote: str, job: str) -> None:
    text = RUN.replace("{jobRef", "{cancel: true, jobRef")
    desired = resolved(a=pool, b=remote, c=job, d=text).desired
    assert desired.requests == (RunRequest(NIGHTLY, AT),)
    assert desired.cancellations == (Cancellation(RunId("nightly/20260131T143000Z")),)


def test_a_record_of_a_run_asks_for_none(
    resolved: Resolve, pool: str, remote: str, job: str
) -> None:
    text = RUN.replace("{jobRef", "{trigger: Scheduled, cancel: true, jobRef")
    desired = resolved(a=pool, b=remote, c=job, d=text).desired
    assert desired.requests == ()
    assert desired.cancellations == (Cancellation(RunId("nightly/20260131T143000Z")),)


def test_a_file_must_say_when_and_a_server_knows(pool: str, remote: str, job: str) -> None:
    texts = (pool, remote, job, RUN.replace(', at: "2026-01-31T14:30:00Z"', ""))
    files = [parse_file(f"{number}.yaml", text.encode()) for number, text in enumerate(texts)]
    desired = resolve(files).desired
    assert [problem.message for problem in desired.problems] == ["spec.at is missing"]
    assert desired.requests == ()
    (document,) = files[3].documents
    files[3] = replace(files[3], documents=(replace(document, created_at=AT),))
    assert resolve(files).desired.requests == (RunRequest(NIGHTLY, AT),)


def test_a_job_that_is_not_there_is_named(resolved: Resolve, pool: str) -> None:
    desired = resolved(a=pool, d=RUN).desired
    assert [problem.message for problem in desired.problems] == ['there is no BackupJob "nightly"']
    assert desired.requests == ()
