"""Where a host listens: scheme, name and port, parsed strictly; addresses from the wire checked.

A pool tells its clients bare addresses ("go to 10.0.0.7"); scheme and port stay those of the url
that a person configured.
"""

import ipaddress
import re
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9_-]+)*\.?"
)
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """host: an address or a name, IPv6 without brackets."""

    tls: bool
    host: str
    port: int

    @property
    def url(self) -> str:
        scheme = "https" if self.tls else "http"
        default = self.port == _DEFAULT_PORTS[scheme]
        return f"{scheme}://{self.authority if not default else _bracketed(self.host)}"

    @property
    def authority(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"

    def at(self, host: str) -> "Endpoint":
        """The same scheme and port on another host. Raises ValueError on a crafted address."""
        return replace(self, host=parse_host(host))


def parse_host(text: str) -> str:
    """Check an address or host name, lower-cased, without brackets. Raises ValueError."""
    host = text.strip().removeprefix("[").removesuffix("]").lower()
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not _HOST_NAME.fullmatch(host):
        raise ValueError(f"{text[:80]!r} is not an address or a host name")
    return host


def parse_url(url: str) -> Endpoint:
    """Parse "https://host[:port]"; without a scheme it is https. Raises ValueError."""
    return _endpoint(url if "://" in url else f"https://{url}", repr(url[:200]))


def parse_location(location: str) -> Endpoint:
    """Parse the `Location` of a redirect down to where it leads. Raises ValueError."""
    return _endpoint(location, "the redirect's location")


def _endpoint(url: str, what: str) -> Endpoint:
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise ValueError("credentials do not belong into an address")
    crafted = not url.isascii() or not url.isprintable() or " " in url
    if crafted or parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"{what} is not an http(s) address of a host")
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    return Endpoint(parts.scheme == "https", parse_host(parts.hostname), port)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
