"""A server's certificate and key from a directory, taken up anew when they change.

A Secret that is mounted changes under the program: cert-manager renews it weeks before its end.
Both files are looked at every few seconds. What cannot be read, or does not belong together (one
was replaced and the other not yet), leaves in force what was read last.
"""

import asyncio
import os
import ssl
from pathlib import Path

import structlog
from cryptography import x509

log = structlog.get_logger(__name__)

CERTIFICATE, KEY = "tls.crt", "tls.key"
_LOOK_EVERY_S = 5.0

_Seen = tuple[tuple[int, int, int], ...]


class Certificate:
    """context: what connections are secured with; None until a certificate could be read."""

    def __init__(self, directory: Path, *, look_every_s: float = _LOOK_EVERY_S) -> None:
        self.context: ssl.SSLContext | None = None
        self._directory = directory
        self._look_every_s = look_every_s
        self._seen: _Seen = ()
        self._trouble = ""

    async def follow(self) -> None:
        """Keep `context` what the files say; for ever."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(self._look_every_s)

    def look(self) -> None:
        """Take up what is there if it is another than before."""
        try:
            seen = tuple(map(_seen, self._paths))
            if seen == self._seen:
                return
            self.context = self._read()
            self._seen = seen  # from before it was read: whatever changed meanwhile is read again
            self._trouble = ""
        except (OSError, ValueError) as error:
            self._say(f"{type(error).__name__}: {error}")

    @property
    def _paths(self) -> tuple[Path, Path]:
        return self._directory / CERTIFICATE, self._directory / KEY

    def _read(self) -> ssl.SSLContext:
        certificate, key = self._paths
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(certificate, key, password=_no_password)
        until = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
        log.info("certificate read", path=str(certificate), until=until.isoformat())
        return context

    def _say(self, trouble: str) -> None:
        """Log it once, for as long as it is the same."""
        if trouble == self._trouble:
            return
        self._trouble = trouble
        log.warning(
            "no certificate can be read" if self.context is None else "the certificate stays",
            directory=str(self._directory),
            why=trouble,
            hint=f"it needs {CERTIFICATE} and {KEY}, in PEM and without a password; it is looked at"
            " again every few seconds",
        )


def _seen(path: Path) -> tuple[int, int, int]:
    """What tells one version of a file from another, also behind the links of a mounted Secret."""
    found = os.stat(path)
    return found.st_ino, found.st_mtime_ns, found.st_size


def _no_password() -> str:
    raise ValueError("the key has a password")
