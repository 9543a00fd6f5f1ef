"""What is mounted is taken up, and what cannot be used leaves what was there before."""

import ssl
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from reconciler.web.certificate import Certificate


def test_what_is_mounted_is_taken_up_and_again_when_it_is_another(secret: Path, mount) -> None:
    certificate = Certificate(secret)
    certificate.look()
    assert certificate.context is None
    mount()
    certificate.look()
    first = certificate.context
    assert first is not None
    assert first.minimum_version >= ssl.TLSVersion.TLSv1_2
    certificate.look()
    assert certificate.context is first, "it is the same"
    mount()
    certificate.look()
    assert certificate.context not in (None, first)


def test_a_certificate_with_the_key_of_another_leaves_the_one_before(secret: Path, mount) -> None:
    certificate = Certificate(secret)
    mount()
    certificate.look()
    first = certificate.context
    other = (secret / "tls.key").read_bytes()
    mount()
    own = (secret / "tls.key").read_bytes()
    (secret / "tls.key").write_bytes(other)
    certificate.look()
    assert certificate.context is first
    (secret / "tls.key").write_bytes(own)
    certificate.look()
    assert certificate.context not in (None, first)


def test_what_is_taken_away_or_no_certificate_leaves_the_one_before(secret: Path, mount) -> None:
    certificate = Certificate(secret)
    mount()
    certificate.look()
    first = certificate.context
    (secret / "tls.crt").write_bytes(b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    certificate.look()
    (secret / "tls.crt").unlink()
    certificate.look()
    assert certificate.context is first is not None


def test_a_key_with_a_password_is_not_asked_for_at_the_terminal(secret: Path, mount) -> None:
    mount()
    key = load_pem_private_key((secret / "tls.key").read_bytes(), None)
    locked = BestAvailableEncryption(b"secret")
    (secret / "tls.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    certificate = Certificate(secret)
    certificate.look()
    assert certificate.context is None
