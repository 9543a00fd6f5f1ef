"""Whom to believe: a CA, certificates known by fingerprint, or the system's CAs.

Hosts of a pool usually have certificates that they signed themselves, one per host. So beside CAs
there are *pins*: SHA-256 digests of whole certificates. A pinned connection checks the peer's
certificate at the end of the handshake, before a single byte of ours is sent; there is no way to
talk TLS without one check or the other.

Certificates of the other members of a pool can be learned from a master that was itself believed
(`Pins.learn`); a learned one counts for that member's address only.
"""

import hashlib
import hmac
import re
import ssl
from dataclasses import dataclass, field

from reconciler.xapi.errors import Untrusted

_DIGEST = re.compile(r"[0-9a-f]{64}")


def digest_of(certificate: bytes) -> str:
    """SHA-256 of a certificate in DER, hex."""
    return hashlib.sha256(certificate).hexdigest()


def parse_fingerprints(text: str) -> frozenset[str]:
    """Parse one or several SHA-256 fingerprints, with or without colons, comma between them.

    Raises ValueError.
    """
    digests = frozenset(
        part.strip().replace(":", "").lower() for part in text.split(",") if part.strip()
    )
    if not digests or not all(_DIGEST.fullmatch(digest) for digest in digests):
        raise ValueError("a fingerprint is the SHA-256 of a certificate: 64 hexadecimal digits")
    return digests


@dataclass(slots=True)
class Pins:
    """Certificates that are believed. configured: for any host; learned: by host address."""

    configured: frozenset[str]
    learned: dict[str, str] = field(default_factory=dict)

    def learn(self, address: str, pem: str) -> None:
        """Believe this certificate for this address. Raises ValueError if it is none."""
        certificate = ssl.PEM_cert_to_DER_cert(pem.strip())
        self.learned[address] = digest_of(certificate)

    def check(self, certificate: bytes | None, host: str | None) -> None:
        """Raise Untrusted unless this certificate is believed for this host."""
        presented = digest_of(certificate or b"")
        wanted = set(self.configured)
        if host in self.learned:
            wanted.add(self.learned[host])
        if certificate is None or not any(hmac.compare_digest(presented, pin) for pin in wanted):
            raise Untrusted(
                f"{host} presents a certificate with SHA-256 fingerprint {presented}, "
                f"wanted {' or '.join(sorted(wanted))}"
            )


@dataclass(frozen=True, slots=True)
class Trust:
    """How peers prove who they are: `pins`, else `ca` (path of a PEM bundle), else system CAs."""

    ca: str | None = None
    pins: Pins | None = None

    def context(self) -> ssl.SSLContext:
        """Make the TLS settings. Raises Untrusted if the CA bundle cannot be read."""
        if self.pins is not None:
            return _pinned(self.pins)
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError) as error:
            raise Untrusted(f"cannot read CA bundle {self.ca}: {error}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def trust_of(ca: str | None, fingerprint: str | None) -> Trust:
    """Build from what a person wrote. A fingerprint rules over a CA. Raises ValueError."""
    if fingerprint is not None:
        return Trust(pins=Pins(parse_fingerprints(fingerprint)))
    return Trust(ca=ca)


def _pinned(pins: Pins) -> ssl.SSLContext:
    """Settings whose every handshake, blocking or not, ends with a look at the pins.

    The classes that `SSLContext` makes connections of are its documented extension point. Chain
    and name checks are off here, and only here, because a pin says more than both.
    """

    class PinnedObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            pins.check(self.getpeercert(binary_form=True), _name(self.server_hostname))

    class PinnedSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            pins.check(self.getpeercert(binary_form=True), _name(self.server_hostname))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.sslobject_class = PinnedObject
    context.sslsocket_class = PinnedSocket
    return context


def _name(host: str | bytes | None) -> str | None:
    return host.decode("ascii", "replace") if isinstance(host, bytes) else host
