import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from types import ModuleType
from typing import Any

import pytest
import typer

from reconciler.cli import main
from reconciler.cli.exits import ExitCode, Failure, Usage, code_of, leaves_of
from reconciler.cli.lazy import Address, load
from reconciler.plan.reasons import Reason

Invoke = Callable[..., Any]


def test_every_address_leads_to_a_command() -> None:
    for name, address in main.COMMANDS.items():
        command = load(name, address)
        assert command.name == name


def test_the_table_and_the_docstrings_agree() -> None:
    """The list of commands shows the first line of what a command says of itself."""
    for name, address in main.COMMANDS.items():
        command = load(name, address)
        if name not in {"lab", "demo"}:
            assert (command.help or "").split("\n", 1)[0] == address.summary, name


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help(invoke: Invoke, words: list[str]) -> None:
    ran = invoke(*words)
    assert ran.code == 0
    assert ran.stdout.startswith("Usage: reconciler")
    for name in main.COMMANDS:
        assert f"\n  {name} " in ran.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope"], "No such command 'nope'"),
        (["plna"], "Did you mean 'plan'?"),
        (["version", "--nope"], "No such option: --nope"),
        (["version", "-o", "xml"], "'xml' is not one of 'text', 'json'"),
        (["version", "more"], "unexpected extra argument"),
        (["completion"], "Missing argument"),
        (["--nope"], "No such option"),
    ],
)
def test_usage_errors_are_64_and_say_where_to_look(
    invoke: Invoke, words: list[str], said: str
) -> None:
    ran = invoke(*words)
    assert ran.code == 64
    assert said in ran.stderr
    assert "--help" in ran.stderr
    assert ran.stdout == ""


def test_version(invoke: Invoke) -> None:
    assert metadata.version("reconciler") in invoke("version").stdout
    assert '"version"' in invoke("version", "-o", "json").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_completion_scripts(invoke: Invoke, shell: str) -> None:
    ran = invoke("completion", shell)
    assert ran.code == 0
    assert f"_RECONCILER_COMPLETE=complete_{shell}" in ran.stdout.replace(' = "', "=")


def test_completion_completes_commands_without_importing_them() -> None:
    program = (
        "import sys\n"
        "from reconciler.cli.main import execute\n"
        "code = execute([])\n"
        "assert 'structlog' not in sys.modules, 'structlog'\n"
        "assert 'httpx' not in sys.modules, 'httpx'\n"
        "assert 'ruamel.yaml' not in sys.modules, 'ruamel'\n"
        "sys.exit(code)\n"
    )
    environment = {
        "_RECONCILER_COMPLETE": "complete_bash",
        "COMP_WORDS": "reconciler ve",
        "COMP_CWORD": "1",
    }
    ran = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.stdout.split() == ["version"], ran.stderr


def test_a_reader_that_goes_away_is_no_news(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "_leave_stdout", lambda: None)
    for error in (BrokenPipeError(), ExceptionGroup("tasks", [BrokenPipeError()])):
        _command_that_raises(monkeypatch, error)
        assert invoke("version").stderr == ""


def test_version_imports_next_to_nothing() -> None:
    """It answers in a third of a second because of it."""
    program = (
        "import sys\n"
        "from reconciler.cli.main import execute\n"
        "code = execute(['version'])\n"
        "heavy = {'structlog', 'httpx', 'ruamel.yaml', 'rich', 'asyncio', 'watchfiles'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert ran.stdout.splitlines()[-1] == "[]"


def test_a_terminal_without_utf_8_is_no_failure() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "reconciler", "validate", "--help"],
        check=False,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    assert ran.returncode == 0
    shown = subprocess.run(
        [sys.executable, "-m", "reconciler", "restore", "x", "/", "--as-of", "gestern früh"],
        check=False,
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    assert shown.returncode == 64
    assert shown.stderr.isascii()


def _command_that_raises(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    module = ModuleType("reconciler_test_command")

    def boom() -> None:
        """Fail."""
        raise error

    module.boom = boom  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(main.COMMANDS, "version", Address(module.__name__, "boom", "Fail."))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Failure("no"), 1),
        (Failure("no", code=ExitCode.PARTIAL), 3),
        (Failure("no", code=ExitCode.POOL_UNREACHABLE), 14),
        (Usage("no"), 64),
        (ExceptionGroup("tasks", [ExceptionGroup("more", [Failure("no")])]), 1),
        (typer.Exit(2), 2),
        (typer.Abort(), 130),
        (KeyboardInterrupt(), 130),
        (SystemExit(7), 7),
        (BrokenPipeError(), 1),
        (ExceptionGroup("tasks", [BrokenPipeError()]), 1),
        (ValueError("no"), 1),
        (ExceptionGroup("tasks", [KeyError("no")]), 1),
    ],
)
def test_every_end_has_its_code(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    monkeypatch.setattr(main, "_leave_stdout", lambda: None)
    _command_that_raises(monkeypatch, error)
    ran = invoke("version")
    assert ran.code == code
    assert "Traceback" not in ran.stderr


def test_a_failure_says_four_parts(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = Failure("cannot be read: \x1b[2J", subject="remote nas1", hint="mount it")
    _command_that_raises(monkeypatch, failure)
    assert invoke("version").stderr == (
        "error: remote nas1: cannot be read: \\x1b[2J\n  hint: mount it\n"
    )


def test_an_unexpected_error_says_how_to_report_it(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    _command_that_raises(monkeypatch, ZeroDivisionError("by zero"))
    ran = invoke("version")
    assert "ZeroDivisionError: by zero" in ran.stderr
    assert "--debug" in ran.stderr


def test_debug_shows_the_traceback(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    _command_that_raises(monkeypatch, ZeroDivisionError("by zero"))
    assert "Traceback" in invoke("--debug", "version").stderr
    monkeypatch.setenv("RECONCILER_DEBUG", "1")
    assert "Traceback" in invoke("version").stderr


def test_reasons_have_codes() -> None:
    assert code_of(Reason.POOL_UNREACHABLE) == 14
    assert code_of("NoSuchReason") == 1
    assert code_of(Reason.BAD_DISK) == 1


def test_leaves_of_nested_groups() -> None:
    one, two = ValueError("1"), KeyError("2")
    assert leaves_of(ExceptionGroup("", [ExceptionGroup("", [one]), two])) == [one, two]
