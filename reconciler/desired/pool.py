"""Kind XenPool: how to reach a pool of XCP-ng or XenServer hosts."""

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from reconciler.desired.envelope import AbsolutePath, Fields, Text
from reconciler.desired.state import Pool, SecretRef
from reconciler.ids import PoolName

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?P<port>:[0-9]{1,5})?/?"
)
_LOOPBACK = re.compile(r"localhost|127\.\d+\.\d+\.\d+|\[::1\]")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def _url(text: str) -> str:
    if "@" in text:
        raise ValueError(
            "must be without user and password; they belong to spec.username and passwordFrom"
        )
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError("must be the address of a host; for example https://xcp1.example.net")
    if match["port"] and not 1 <= int(match["port"][1:]) <= 65535:
        raise ValueError("must have a port between 1 and 65535")
    if match["scheme"] == "http" and not _LOOPBACK.fullmatch(match["host"]):
        raise ValueError(
            "must begin with https://; the password would travel in clear"
            " (http:// is for 127.0.0.1 and localhost)"
        )
    return text.rstrip("/")


def _env_name(text: str) -> str:
    if not _ENV_NAME.fullmatch(text):
        raise ValueError("must be the name of an environment variable; for example POOL_PASSWORD")
    return text


def _fingerprint(text: str) -> str:
    digits = text.casefold().removeprefix("sha256:").removeprefix("sha-256:").replace(":", "")
    if not _FINGERPRINT.fullmatch(digits):
        raise ValueError("must be the SHA-256 of the certificate; 64 hexadecimal digits")
    return digits


class SecretSource(Fields):
    """Where a secret is found when it is needed; exactly one of the two."""

    env: Annotated[str, AfterValidator(_env_name), WithJsonSchema({"type": "string"})] | None = (
        Field(None, description="Name of an environment variable of the operator.")
    )
    file: AbsolutePath | None = Field(
        None, description="Path of a file that holds nothing but the secret."
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "SecretSource":
        if (self.env is None) == (self.file is None):
            raise ValueError("must have exactly one of env and file")
        return self

    def reference(self) -> SecretRef:
        return SecretRef(env=self.env, file=self.file)


class Tls(Fields):
    """Who vouches for the hosts; without this, the certificate authorities of the system."""

    ca_file: AbsolutePath | None = Field(
        None, description="Path of a bundle of certificate authorities, PEM."
    )
    fingerprint: (
        Annotated[str, AfterValidator(_fingerprint), WithJsonSchema({"type": "string"})] | None
    ) = Field(None, description="SHA-256 of the one certificate that is accepted.")

    renamed: ClassVar[Mapping[str, str]] = {"ca": "caFile", "caBundle": "caFile"}
    later: ClassVar[Mapping[str, str]] = {
        "caSecretRef": "use caFile",
        "fingerprints": "use fingerprint, or caFile with the authority of all hosts",
        "insecure": "pin a self-signed certificate with fingerprint",
        "insecureSkipVerify": "pin a self-signed certificate with fingerprint",
    }

    @model_validator(mode="after")
    def _exactly_one(self) -> "Tls":
        if (self.ca_file is None) == (self.fingerprint is None):
            raise ValueError("must have exactly one of caFile and fingerprint")
        return self


class PoolSpec(Fields):
    """How to reach a pool and how much of it to use at once."""

    urls: tuple[
        Annotated[str, AfterValidator(_url), WithJsonSchema({"type": "string", "format": "uri"})],
        ...,
    ] = Field(
        min_length=1,
        max_length=64,
        description="Addresses of hosts, tried in order; the pool's master is followed.",
    )
    username: Text = Field("root", description="Who logs in.")
    password_from: SecretSource = Field(description="Where the password is found.")
    tls: Tls | None = None
    max_concurrent_exports: int = Field(12, ge=1, le=100, description="Disks in flight at once.")
    max_concurrent_snapshots: int = Field(1, ge=1, le=16, description="Snapshots made at once.")

    renamed: ClassVar[Mapping[str, str]] = {
        "url": "urls",
        "host": "urls",
        "hosts": "urls",
        "user": "username",
        "secretRef": "passwordFrom",
        "passwordRef": "passwordFrom",
        "passwordSecretRef": "passwordFrom",
        "credentials": "passwordFrom",
    }
    later: ClassVar[Mapping[str, str]] = {
        "dataPath": "disks travel over HTTPS for now",
        "networkRef": "exports take the management network for now",
        "suspend": "suspend the jobs of the pool instead",
    }

    @model_validator(mode="after")
    def _tls_has_a_use(self) -> "PoolSpec":
        if self.tls is not None and all(url.startswith("http://") for url in self.urls):
            raise ValueError("has tls, but no URL that begins with https://")
        return self

    def pool(self, name: str) -> Pool:
        return Pool(
            name=PoolName(name),
            urls=self.urls,
            username=self.username,
            password=self.password_from.reference(),
            ca=self.tls.ca_file if self.tls else None,
            fingerprint=self.tls.fingerprint if self.tls else None,
            exports_max=self.max_concurrent_exports,
            snapshots_max=self.max_concurrent_snapshots,
        )
