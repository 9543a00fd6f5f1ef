"""No excerpt may show a secret: canaries everywhere one could be written."""

import pytest

from reconciler.desired.source_text import (
    HIDDEN,
    SourceText,
    names_secret,
    refers_to_secret,
    without_userinfo,
)

CANARY = "hunter2"


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "Password",
        "passwd",
        "pasword",
        "passphrase",
        "pwd",
        "secret",
        "clientSecret",
        "token",
        "api_key",
        "apiKey",
        "private-key",
        "credentials",
        "spec.password",
        "user_pass",
    ],
)
def test_names_of_secrets(key: str) -> None:
    assert names_secret(key)


@pytest.mark.parametrize("key", ["passwordFrom", "secretRef", "tokenFile", "PASSWORD_ENV"])
def test_names_of_references(key: str) -> None:
    assert refers_to_secret(key)
    assert not names_secret(key)


@pytest.mark.parametrize(
    "key", ["name", "urls", "path", "cron", "mode", "schedules", "powerStates"]
)
def test_names_of_other_things(key: str) -> None:
    assert not names_secret(key)
    assert not refers_to_secret(key)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"password: {CANARY}", 1),
        (f'  password: "{CANARY}', 1),
        (f"- password: {CANARY}", 1),
        (f"spec: {{user: root, password: {CANARY}, urls: []}}", 1),
        (f"spec: {{user: root, 'password': {CANARY}}}", 1),
        (f"passwordFrom: {CANARY}", 1),
        (f"passwordFrom: '{CANARY}'", 1),
        (f"pasword: {CANARY}", 1),
        (f"password: |\n  {CANARY}", 2),
        (f"password: >-\n\n  first\n  {CANARY}", 4),
        (f"password:\n  {CANARY}", 2),
        (f'a:\n  password: "first\n    {CANARY}"', 3),
        (f'a:\n  password: "first\n  {CANARY}"', 3),
        (f"passwordFrom:\n  {CANARY}", 2),
        (f"passwordFrom:\n  value: {CANARY}", 2),
        (f"password:\n  - {CANARY}", 2),
        (f"password:\n- {CANARY}", 2),
        (f"urls: [https://root:{CANARY}@host]", 1),
        (f"# password: {CANARY}", 1),
    ],
)
def test_a_secret_is_never_shown(text: str, line: int) -> None:
    source = SourceText(text.split("\n"))
    for column in range(1, 60):
        assert CANARY not in source.excerpt(line, column)


def test_what_is_not_secret_is_shown_whole() -> None:
    source = SourceText(["passwordFrom: {env: XCP}", "passwordFrom:", "  file: /run/x", "a: 1"])
    assert source.excerpt(1) == "passwordFrom: {env: XCP}"
    assert source.excerpt(3) == "  file: /run/x"
    assert source.excerpt(4) == "a: 1"


def test_up_to_the_secret_is_shown() -> None:
    source = SourceText([f"spec: {{user: root, password: {CANARY}, x: y}}"])
    assert source.excerpt(1, 8) == f"spec: {{user: root, password: {HIDDEN}"


def test_a_caret_behind_a_secret_would_tell_its_length() -> None:
    source = SourceText([f"spec: {{password: {CANARY}, x: y}}"])
    assert source.excerpt(1, 30) == ""


def test_what_the_tree_knows_is_hidden() -> None:
    source = SourceText(["x: &a one", "  two", "y: z"])
    source.hide(1, 4, 2)
    assert source.excerpt(1) == f"x: {HIDDEN}"
    assert source.excerpt(2) == HIDDEN
    assert source.excerpt(3) == "y: z"


def test_there_is_no_line_outside_the_text() -> None:
    source = SourceText(["a"])
    assert source.excerpt(0) == source.excerpt(2) == SourceText().excerpt(1) == ""


def test_a_line_without_end_is_not_copied_into_every_problem() -> None:
    assert SourceText(["x" * 100_000]).excerpt(1) == ""


def test_users_of_urls_are_hidden() -> None:
    assert without_userinfo(f"https://root:{CANARY}@host/x") == "https://***@host/x"
