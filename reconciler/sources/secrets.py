"""Secrets, fetched when they are needed from where a manifest says they are, and never shown.

Nothing is kept: a rotated file or a changed mount is read anew at the next login.
"""

import os
from collections.abc import Mapping

from reconciler.desired.state import SecretRef

_BYTES_MAX = 64 * 1024


class SecretUnavailable(Exception):
    """The secret cannot be had now; the text says which and why, for a person."""


class Secret:
    """A text that shows itself to nobody: not in logs, tracebacks, f-strings or pickles."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text, to be handed to who checks it and to nobody else."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, specification: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not to be copied or stored")


def read_secret(reference: SecretRef, environment: Mapping[str, str] = os.environ) -> Secret:
    """Fetch a secret. Blocks on the file. Raises SecretUnavailable.

    Of a file, one newline at the end is not part of the secret: editors and `echo` put it there.
    """
    if reference.secret is not None:
        raise SecretUnavailable(
            f"the secret {reference.secret} is one of Kubernetes, and there are none here:"
            " use env or file"
        )
    if reference.env is not None:
        text = environment.get(reference.env)
        if text is None:
            raise SecretUnavailable(f"the environment variable {reference.env} is not set")
        if not text:
            raise SecretUnavailable(f"the environment variable {reference.env} is empty")
        return Secret(text)
    assert reference.file is not None, "a reference names a variable or a file"
    return Secret(_read_file(reference.file))


def _read_file(path: str) -> str:
    try:
        # Never wait for the writer of a fifo; a directory fails at the read.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            content = file.read(_BYTES_MAX + 1) or b""
    except OSError as error:
        raise SecretUnavailable(f"the file {path} cannot be read: {error.strerror}") from error
    if len(content) > _BYTES_MAX:
        raise SecretUnavailable(f"the file {path} is larger than {_BYTES_MAX // 1024} KiB")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        # Without the cause: the error carries the bytes.
        raise SecretUnavailable(f"the file {path} is not UTF-8 text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise SecretUnavailable(f"the file {path} is empty")
    return text
