"""Runs the command line in this process and keeps what it wrote."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import structlog

from reconciler.cli.main import execute


@dataclass(frozen=True)
class Ran:
    code: int
    stdout: str
    stderr: str


Invoke = Callable[..., Ran]


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str]) -> Invoke:
    def run(*words: object) -> Ran:
        capsys.readouterr()
        code = execute([str(word) for word in words])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No colours, no state of the person who runs the tests, logs as they were before."""
    for name in ("RECONCILER_STATE", "RECONCILER_DEBUG", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    logging.getLogger("reconciler").setLevel(logging.NOTSET)
    structlog.reset_defaults()
