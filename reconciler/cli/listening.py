"""`--listen`: the socket that metrics and health are served on."""

from importlib import metadata
from socket import socket

import structlog

from reconciler.cli.exits import Failure, Usage
from reconciler.web.listen import address_of, bind, parse_address

log = structlog.get_logger(__name__)


def listening(text: str | None) -> socket | None:
    """Bind what `--listen` says, and say where that is. Raises Usage, Failure."""
    if text is None:
        return None
    try:
        address = parse_address(text)
    except ValueError as error:
        hint = "write for example 9190, 127.0.0.1:9190 or :9190"
        raise Usage(f"--listen: {error}", hint=hint) from error
    try:
        bound = bind(address)
    except OSError as error:
        raise Failure(
            f"cannot listen: {error.strerror or error}",
            subject=f"--listen {text}",
            hint="name another address; another program may have this one",
        ) from error
    log.info("listening", address=str(address_of(bound)))
    return bound


def version() -> str:
    """The program's own."""
    return metadata.version("reconciler")
