"""Where to listen: what `--listen` may say, and the socket that it becomes."""

import socket
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Address:
    """host: "" for all of the machine's addresses. port: 0 for any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read `PORT` (on loopback), `HOST:PORT`, `[IPV6]:PORT` or `:PORT` (all). Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r}: an IPv6 address is written in brackets, as in [::1]:9190")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"{text!r} is not HOST:PORT or PORT")
    return Address(host if colon else LOOPBACK, int(port))


def bind(address: Address) -> socket.socket:
    """Bind and listen. Raises OSError, with what the system says."""
    if not address.host and socket.has_dualstack_ipv6():
        return socket.create_server(("", address.port), family=socket.AF_INET6, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return socket.create_server((address.host, address.port), family=family)


def address_of(bound: socket.socket) -> Address:
    """Return where a bound socket listens."""
    host, port = bound.getsockname()[:2]
    return Address(host, port)
