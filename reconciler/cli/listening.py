"""`--listen` and its like: the sockets that something is served on."""

from importlib import metadata
from socket import socket

import structlog

from reconciler.cli.exits import Failure, Usage
from reconciler.web.listen import address_of, bind, parse_address

log = structlog.get_logger(__name__)


def listening(text: str | None) -> socket | None:
    """Bind what `--listen` says, if anything, and say where that is. Raises Usage, Failure."""
    return None if text is None else bind_option("--listen", text, "listening")


def bind_option(option: str, text: str, event: str) -> socket:
    """Bind what an option says, and log where that is. Raises Usage, Failure."""
    try:
        address = parse_address(text)
    except ValueError as error:
        hint = "write for example 9190, 127.0.0.1:9190 or :9190"
        raise Usage(f"{option}: {error}", hint=hint) from error
    try:
        bound = bind(address)
    except OSError as error:
        raise Failure(
            f"cannot listen: {error.strerror or error}",
            subject=f"{option} {text}",
            hint="name another address; another program may have this one",
        ) from error
    log.info(event, address=str(address_of(bound)))
    return bound


def version() -> str:
    """The program's own."""
    return metadata.version("reconciler")
