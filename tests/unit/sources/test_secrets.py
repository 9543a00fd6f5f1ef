import copy
import os
import pickle
from pathlib import Path

import pytest

from reconciler.desired.state import SecretRef
from reconciler.sources.secrets import Secret, SecretUnavailable, read_secret


def test_from_the_environment() -> None:
    assert read_secret(SecretRef(env="XCP"), {"XCP": "hunter2"}).reveal() == "hunter2"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"hunter2", "hunter2"),
        (b"hunter2\n", "hunter2"),
        (b"hunter2\r\n", "hunter2"),
        (b"hunter2\n\n", "hunter2\n"),
        (b" hunter2 ", " hunter2 "),
        ("日本".encode(), "日本"),
    ],
)
def test_from_a_file_without_the_newline_at_its_end(
    tmp_path: Path, content: bytes, text: str
) -> None:
    (tmp_path / "secret").write_bytes(content)
    assert read_secret(SecretRef(file=str(tmp_path / "secret"))).reveal() == text


@pytest.mark.parametrize("environment", [{}, {"XCP": ""}])
def test_an_absent_variable_is_named(environment: dict[str, str]) -> None:
    with pytest.raises(SecretUnavailable, match="environment variable XCP"):
        read_secret(SecretRef(env="XCP"), environment)


@pytest.mark.parametrize("content", [b"", b"\n", b"hunter2\xff", b"hunter2" * 10_000])
def test_a_file_that_holds_no_secret_is_named_and_not_shown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(SecretUnavailable, match="secret") as caught:
        read_secret(SecretRef(file=str(tmp_path / "secret")))
    assert "hunter2" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "absent", tmp_path, tmp_path / "fifo"):
        with pytest.raises(SecretUnavailable, match=str(path)):
            read_secret(SecretRef(file=str(path)))


def test_there_are_no_kubernetes_secrets_outside_a_cluster() -> None:
    reference = SecretRef(secret="xcp", key="password", namespace="default")
    with pytest.raises(SecretUnavailable, match=r"secret xcp .*: use env or file"):
        read_secret(reference)


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret("hunter2")
    shown = f"{secret} {secret!r} {secret!s} {secret:>20} {[secret]} {secret.__dir__()}"
    assert "hunter2" not in shown
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            take(secret)


def test_secrets_can_be_compared() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
