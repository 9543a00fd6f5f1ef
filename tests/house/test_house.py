"""The house itself: names, sizes, documents that must be true, and nothing that nobody uses."""

import ast
import configparser
import re
import subprocess
from pathlib import Path

import pytest

from reconciler.plan.reasons import Reason

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "reconciler"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
BANNED = {
    "utils",
    "helpers",
    "common",
    "misc",
    "base",
    "core",
    "manager",
    "handler",
    "data",
    "info",
    "service",
}
LINES_MAX = 400


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def charter(package: Path) -> str:
    tree = ast.parse((package / "__init__.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").splitlines()[0]


def tracked_texts() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "*.py", "*.md", "*.toml", "*.sh", "*.yaml", "*.mjs", "Makefile"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_module_says_what_it_is_and_stays_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert len(text.splitlines()) <= LINES_MAX
    assert path.stem not in BANNED


def test_a_package_charter_holds_no_code() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert len(body) == 1, f"{dotted(path)}: a charter and no code"


def test_every_module_is_used_by_something() -> None:
    used: set[str] = {"reconciler", "reconciler.__main__", "reconciler.cli.main"}
    proofs = [*(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "tests" / "crash").rglob("*.py")]
    for path in [*MODULES, *proofs]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                used.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                used.add(node.module)
                used.update(f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                used.update(re.findall(r"reconciler(?:\.\w+)+", node.value))
    unused = [
        dotted(path) for path in MODULES if path.name != "__init__.py" and dotted(path) not in used
    ]
    assert unused == []


def test_the_architecture_names_every_package_by_its_charter() -> None:
    text = " ".join((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split())
    for package in sorted(path.parent for path in PACKAGE.glob("*/__init__.py")):
        line = f"`{package.name}` | {charter(package)}"
        assert line in text, f"ARCHITECTURE.md lacks: {line}"


def test_the_architecture_draws_the_layers_that_are_enforced() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    enforced = [
        line.strip()
        for line in contracts["importlinter:contract:arch"]["layers"].splitlines()
        if line.strip()
    ]
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    drawn = re.search(r"```layers\n(.*?)```", text, re.DOTALL)
    assert drawn is not None
    assert [line.strip() for line in drawn[1].splitlines() if line.strip()] == enforced


def test_every_reason_is_explained() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert explained == {reason.value for reason in Reason}


def test_every_reason_is_given_by_some_rule() -> None:
    text = "\n".join(
        path.read_text(encoding="utf-8") for path in MODULES if path.name != "reasons.py"
    )
    coming = {"WRONG_REMOTE", "SLOW_DESTINATION", "WRONG_KEY"}
    never = [
        reason.name
        for reason in Reason
        if f"Reason.{reason.name}" not in text and reason.name not in coming
    ]
    assert never == []


def test_nothing_is_left_to_do_without_a_number() -> None:
    for path in tracked_texts():
        if path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for mark in re.findall(r"\b(?:TODO|FIXME|XXX)\b(?! #\d+)", line):
                pytest.fail(f"{path.relative_to(ROOT)}:{number}: {mark} without an issue number")


def test_links_between_documents_lead_somewhere() -> None:
    for path in tracked_texts():
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.relative_to(ROOT)} → {target}"
