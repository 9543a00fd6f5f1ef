"""What the image installs is locked: image/*.lock name what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def named(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("runtime", PROJECT["project"]["dependencies"]),
        ("build", PROJECT["build-system"]["requires"]),
    ],
)
def test_every_requirement_is_locked_with_its_hash(lock: str, wanted: list[str]) -> None:
    text = (ROOT / "image" / f"{lock}.lock").read_text(encoding="utf-8")
    entries = re.findall(r"^(\S+)==[^\\]*\\\n((?:    --hash=sha256:[0-9a-f]{64}.*\n)+)", text, re.M)
    assert len(entries) == len(re.findall(r"^\w", text, re.M)), "an entry without a hash"
    missing = {named(one) for one in wanted} - {named(name) for name, _ in entries}
    assert not missing, f"image/{lock}.lock lacks {', '.join(missing)}: `make lock` writes it"
