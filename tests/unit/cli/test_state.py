import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.cli.exits import ExitCode, Failure
from reconciler.cli.state import StateDirectory, state_directory


def test_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.cli.state._PATIENCE_S", 0.0)
    state = StateDirectory(tmp_path / "deep" / "state")
    with state.hold("first/1"):
        with pytest.raises(Failure, match="first/1") as caught, state.hold("second/2"):
            pass
        assert caught.value.code is ExitCode.LOCKED
    with state.hold("second/2"):
        assert state.live_owner() == "second/2"


def test_the_owner_lives_as_long_as_the_lock(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    assert state.live_owner() is None
    with state.hold("me/1"):
        assert state.live_owner() == "me/1"
        assert state.live_owner() == "me/1"
    assert state.live_owner() is None


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys, pathlib\n"
        "from reconciler.cli.state import StateDirectory\n"
        "with StateDirectory(pathlib.Path(sys.argv[1])).hold('dead/1'):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    state = StateDirectory(tmp_path)
    assert (tmp_path / "lock").read_text() == "dead/1"
    assert state.live_owner() is None
    with state.hold("next/2"):
        assert state.live_owner() == "next/2"


def test_a_long_name_leaves_nothing_of_the_one_before(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    with state.hold("a-very-long-name/1"):
        pass
    with state.hold("b/2"):
        assert state.live_owner() == "b/2"


def test_looking_makes_nothing(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "none")
    assert state.live_owner() is None
    assert not state.path.exists()


def test_a_place_that_cannot_be_written_is_a_clear_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(Failure, match="cannot be written to") as caught,
        StateDirectory(tmp_path / "file" / "state").hold("me/1"),
    ):
        pass
    assert "--state" in caught.value.hint


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert state_directory(None).path == tmp_path / ".local" / "state" / "reconciler"
    monkeypatch.setenv("XDG_STATE_HOME", "/var/xdg")
    assert state_directory(None).path == Path("/var/xdg/reconciler")
    monkeypatch.setenv("RECONCILER_STATE", "/var/lib/reconciler")
    assert state_directory(None).path == Path("/var/lib/reconciler")
    assert state_directory(Path("here")).path == Path("here")


def test_it_is_private(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "state")
    with state.hold("me/1"):
        assert os.stat(state.path).st_mode & 0o077 == 0
        assert os.stat(state.lock).st_mode & 0o077 == 0
