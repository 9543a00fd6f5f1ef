"""What each command says of itself, as the README quotes it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.cli.lazy import load
from reconciler.cli.main import COMMANDS, execute

HELP = Path(__file__).with_name("help")
WORDS = [
    [],
    *([name] for name in COMMANDS),
    *(["lab", inner] for inner in load("lab", COMMANDS["lab"]).commands),
]


@pytest.mark.parametrize("words", WORDS, ids=lambda words: "-".join(words) or "reconciler")
def test_help(
    words: list[str],
    golden: Callable[[Path, str], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERMINAL_WIDTH", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    assert execute([*words, "--help"]) == 0
    text = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines()) + "\n"
    golden(HELP / f"{'-'.join(['reconciler', *words])}.txt", text)


def test_there_are_no_others() -> None:
    names = {f"{'-'.join(['reconciler', *words])}.txt" for words in WORDS}
    assert {path.name for path in HELP.iterdir()} == names
