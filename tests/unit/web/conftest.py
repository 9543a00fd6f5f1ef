"""Certificates for servers of the tests."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from kube_certificates import make_certificates

Mount = Callable[[], ssl.SSLContext]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Where a Secret with a certificate would be mounted; it is empty."""
    place = tmp_path / "secret"
    place.mkdir()
    return place


@pytest.fixture
def mount(secret: Path, tmp_path: Path) -> Mount:
    """Puts a new certificate there, as the kubelet does; returns who trusts it, and no other."""

    def mount() -> ssl.SSLContext:
        number = len([one for one in secret.iterdir() if one.name.startswith("..version")])
        made = make_certificates(tmp_path / f"certificates-{number}")
        version = secret / f"..version-{number}"
        version.mkdir()
        made.server.rename(version / "tls.crt")
        made.server_key.rename(version / "tls.key")
        link = secret / "..data.new"
        link.symlink_to(version.name)
        link.rename(secret / "..data")
        for name in ("tls.crt", "tls.key"):
            if not (secret / name).is_symlink():
                (secret / name).symlink_to(f"..data/{name}")
        return ssl.create_default_context(cafile=made.ca)

    return mount
