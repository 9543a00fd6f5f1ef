"""Signals and watchdogs end processes, so the processes are others."""

import asyncio
import signal
import subprocess
import sys
import threading

import pytest

from reconciler.cli.exits import ExitCode, Failure
from reconciler.cli.foreground import run_to_end, within_grace

PROGRAM = """
import asyncio, sys, threading, time
from reconciler.cli import foreground
from reconciler.cli.exits import ExitCode

async def work():
    print("ready", flush=True)
    try:
        await asyncio.sleep(600)
    finally:
        print("cleaning", flush=True)
        {clean_up}
        print("clean", flush=True)
    return ExitCode.OK

sys.exit(foreground.run_to_end(work, on_terminate=ExitCode.OK, grace_s={grace_s}))
"""


def run(
    signals: list[signal.Signals], clean_up: str = "pass", grace_s: float = 600
) -> tuple[int, str, str]:
    program = PROGRAM.format(clean_up=clean_up, grace_s=grace_s)
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        first, *more = signals
        process.send_signal(first)
        assert process.stdout.readline() == "cleaning\n"
        for number in more:
            process.send_signal(number)
        # Not `communicate`, which knows nothing of what was read ahead of the last line.
        out, err = process.stdout.read(), process.stderr.read()
        return process.wait(timeout=120), out, err


def test_sigterm_and_sigint_clean_up_and_have_their_codes() -> None:
    assert run([signal.SIGTERM]) == (0, "clean\n", "")
    assert run([signal.SIGINT]) == (130, "clean\n", "")


def test_a_second_signal_does_not_wait_for_the_clean_up() -> None:
    code, out, _ = run([signal.SIGTERM, signal.SIGINT], "await asyncio.sleep(600)")
    assert (code, out) == (130, "")


def test_what_hangs_is_not_waited_for() -> None:
    """A thread that hangs on a dead mount can neither be cancelled nor joined."""
    hang = "await asyncio.shield(asyncio.to_thread(time.sleep, 600))"
    code, out, err = run([signal.SIGTERM], hang, grace_s=0.5)
    assert (code, out) == (0, "")
    assert "did not stop within" in err


def test_what_the_work_returns_and_raises_comes_out() -> None:
    async def fine() -> ExitCode:
        return ExitCode.CHANGES

    async def fails() -> ExitCode:
        raise Failure("no")

    async def cancels() -> ExitCode:
        raise asyncio.CancelledError

    assert run_to_end(fine) is ExitCode.CHANGES
    with pytest.raises(Failure):
        run_to_end(fails)
    with pytest.raises(asyncio.CancelledError):
        run_to_end(cancels)


def test_a_body_within_its_grace_is_left_alone() -> None:
    with within_grace(ExitCode.ERROR, grace_s=600):
        (watchdog,) = [each for each in threading.enumerate() if isinstance(each, threading.Timer)]
    watchdog.join(60)
    assert not watchdog.is_alive()
