"""What `run` joins: manifests, approvals and requests make one desired state."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.cli.inbox import Inbox
from reconciler.cli.run import _Server
from reconciler.cli.state import StateDirectory
from reconciler.clock import SteppedClock
from reconciler.desired.problems import Problem
from reconciler.desired.state import Approval, Desired, RunRequest
from reconciler.ids import JobName
from reconciler.latest import Latest
from reconciler.sources.files import ManifestFiles

NOW = datetime(2026, 1, 9, tzinfo=UTC)
REQUEST = RunRequest(JobName("nightly"), NOW)


@pytest.fixture
def server(tmp_path: Path) -> _Server:
    return _Server(
        files=ManifestFiles([str(tmp_path)]),
        place=StateDirectory(tmp_path),
        owner="me",
        style="none",
        log_format="console",
        approvals=(Approval("mine"),),
    )


def test_everything_that_is_wanted_is_joined(server: _Server, tmp_path: Path) -> None:
    inbox = Inbox(tmp_path, SteppedClock(NOW))
    manifests = Latest[Desired | None](Desired(approvals=(Approval("theirs"),)))
    desired: Latest[Desired] = Latest(Desired())
    server._join(manifests, inbox, desired)
    assert desired.value.approvals == (Approval("theirs"), Approval("mine"))
    version = desired.version
    server._join(manifests, inbox, desired)
    assert desired.version == version  # nothing new wakes nobody
    inbox.requests.put((REQUEST,))
    server._join(manifests, inbox, desired)
    assert desired.value.requests == (REQUEST,)


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_problems_are_for_people_or_in_the_log(
    server: _Server, log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.log_format = log_format  # type: ignore[assignment]
    problem = Problem("a.yaml", 3, 5, "unknown field", source="  x: 1")
    server._say(Desired(problems=(problem,)))
    out, err = capsys.readouterr()
    shown = out + err
    assert "a.yaml:3:5" in shown
    assert ("|" in shown) == (log_format == "console")
