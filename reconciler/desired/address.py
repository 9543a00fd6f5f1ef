"""Addresses of servers as manifests give them: what may stand in a URL or in a mount.

Strict on purpose. A name from here becomes part of a mount's source or of a URL, where a comma, a
slash or a line break would mean something else than a name.
"""

import json
import re
from ipaddress import ip_address

from reconciler.desired.rules import Rule, matches

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?P<port>:[0-9]{1,5})?/?"
)
_LOOPBACK = re.compile(r"localhost|127\.[0-9]+\.[0-9]+\.[0-9]+|\[::1\]")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
_HOST_MAX = 253  # characters
_NO_HOST = "must be the name or the address of a host; for example nas.example.net"
_NO_PORT = "must have a port between 1 and 65535"


def check_url(text: str, *, secrets_in: str, example: str) -> str:
    """Return a URL of nothing but a scheme, a host and a port. Raises ValueError.

    secrets_in: the fields to which user and password belong instead.
    """
    if "@" in text:
        raise ValueError(_secret_elsewhere(secrets_in))
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError(f"must be the address of {example}")
    if match["port"] and not 1 <= int(match["port"][1:]) <= 65535:
        raise ValueError(_NO_PORT)
    return text.rstrip("/")


def is_in_clear(url: str) -> bool:
    """Say whether what is sent to a checked URL could be read on the way."""
    match = _URL.fullmatch(url)
    assert match is not None, "the URL was checked"
    return match["scheme"] == "http" and not _LOOPBACK.fullmatch(match["host"])


def check_host(text: str) -> str:
    """Return a host's name or address, IPv6 without brackets. Raises ValueError."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare:
        try:
            return ip_address(bare).compressed
        except ValueError:
            pass
    elif bare == text and _HOST.fullmatch(text) and ".." not in text and len(text) <= _HOST_MAX:
        return text
    raise ValueError(_NO_HOST)


def url_rules(*, secrets_in: str, example: str) -> tuple[Rule, ...]:
    """What `check_url` says, for a server."""
    port = "self.find(':[0-9]+/?$').replace(':', '').replace('/', '')"
    return (
        Rule("!self.contains('@')", _secret_elsewhere(secrets_in)),
        matches(_URL.pattern, f"must be the address of {example}"),
        Rule(f"{port} == '' || (int({port}) >= 1 && int({port}) <= 65535)", _NO_PORT),
    )


def is_in_clear_rule(subject: str) -> str:
    """What `is_in_clear` says of a text, in CEL."""
    loopback = json.dumps(rf"^http://({_LOOPBACK.pattern})(:[0-9]+)?/?$")
    return f"({subject}.startsWith('http://') && !{subject}.matches({loopback}))"


HOST_RULES = (
    matches(rf"{_HOST.pattern}|\[?[0-9A-Fa-f:.]*:[0-9A-Za-z:.%]*\]?", _NO_HOST),
    Rule("!self.contains('..')", _NO_HOST),
)


def _secret_elsewhere(fields: str) -> str:
    return f"must be without user and password; they belong to {fields}"
