import json
import logging

import pytest
import structlog

from reconciler.cli import logs


def test_lines_for_people_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("console")
    structlog.get_logger("reconciler.x").info("action ended", vm="web\nforged \x1b[2J", bytes=3)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "\x1b" not in err
    assert "action ended" in err
    assert "bytes=3" in err


def test_lines_for_programs_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("json")
    structlog.get_logger("reconciler.x").warning("action failed", vm="web\x1b", bytes=3)
    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "action failed"
    assert line["level"] == "warning"
    assert line["vm"] == "web\x1b"
    assert line["timestamp"].endswith("Z")


def test_others_are_heard_when_they_warn(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("console")
    logging.getLogger("httpx").info("GET /")
    logging.getLogger("asyncio").warning("slow %s", "callback\x1b")
    assert capsys.readouterr().err.split("] ", 1)[1].rstrip() == "slow callback\\x1b"


def test_the_level_is_of_our_own_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("console", "ERROR")
    structlog.get_logger("reconciler.x").warning("remote not readable")
    assert capsys.readouterr().err == ""


def test_tracebacks_of_internal_errors_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("console")
    try:
        raise ZeroDivisionError("by zero")
    except ZeroDivisionError as error:
        structlog.get_logger("reconciler.x").warning("action failed", exc_info=error)
    assert "ZeroDivisionError: by zero" in capsys.readouterr().err
