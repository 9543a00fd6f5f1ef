import io

import pytest

from reconciler.cli.messages import coloured, say


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert coloured(Terminal())
    assert not coloured(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not coloured(Terminal())


def test_messages_go_to_stderr_escaped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    say("pool \x1b[2J is gone\n  hint: look", "error")
    say("all is well", "good")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: pool \\x1b[2J is gone\n  hint: look\nall is well\n"
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    say("careful", "warning")
    say("all is well", "good")
    assert terminal.getvalue() == "\x1b[33mwarning: \x1b[0mcareful\n\x1b[32mall is well\x1b[0m\n"
