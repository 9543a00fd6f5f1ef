"""What runs the tests: once more, alone, what failed among others; it passes if it passes then."""

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[1] / "run.py"
SETTINGS = '[tool.pytest.ini_options]\naddopts = "--strict-markers"\n'
OTHERS = "def test_other(): pass\n"
ONCE = """\
from pathlib import Path
def test_it():
    seen = Path("seen")
    if not seen.exists():
        seen.touch()
        raise ValueError("the first time")
"""
ALWAYS = "def test_it(): assert 1 == 2\n"
SKIPPED_THEN = ONCE + "    import pytest; pytest.skip()\n"


@pytest.mark.parametrize(
    ("test", "status", "said"),
    [
        (OTHERS, 0, "1 passed"),
        (ONCE, 0, "FLAKY"),
        (ALWAYS, 1, "1 failed"),
        (SKIPPED_THEN, 1, "not passed"),
    ],
)
def test_what_fails_twice_fails(tmp_path: Path, test: str, status: int, said: str) -> None:
    (tmp_path / "pyproject.toml").write_text(SETTINGS, encoding="utf-8")
    (tmp_path / "test_it.py").write_text(test, encoding="utf-8")
    command = [sys.executable, "-P", RUN, "-q", "-p", "no:asyncio"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == status, ended.stdout + ended.stderr
    assert said in ended.stdout
