"""Kind XenPool: how to reach a pool of XCP-ng or XenServer hosts."""

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, model_validator

from reconciler.desired.address import check_url, is_in_clear, is_in_clear_rule, url_rules
from reconciler.desired.document import Identity
from reconciler.desired.envelope import AbsolutePath, Fields, Rate, Text
from reconciler.desired.rules import Rule, matches, one_of, text_schema
from reconciler.desired.secret import SecretSource
from reconciler.desired.state import Pool
from reconciler.ids import PoolName

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_NO_FINGERPRINT = "must be the SHA-256 of the certificate; 64 hexadecimal digits"
_TLS_IN_VAIN = "has tls, but no URL that begins with https://"
_IN_CLEAR = (
    "must begin with https://; the password would travel in clear"
    " (http:// is for 127.0.0.1 and localhost)"
)


_SECRETS_IN = "spec.username and passwordFrom"
_EXAMPLE = "a host; for example https://xcp1.example.net"


def _url(text: str) -> str:
    url = check_url(text, secrets_in=_SECRETS_IN, example=_EXAMPLE)
    if is_in_clear(url):
        raise ValueError(_IN_CLEAR)
    return url


def _fingerprint(text: str) -> str:
    digits = text.casefold().removeprefix("sha256:").removeprefix("sha-256:").replace(":", "")
    if not _FINGERPRINT.fullmatch(digits):
        raise ValueError(_NO_FINGERPRINT)
    return digits


class Tls(Fields):
    """Who vouches for the hosts; without this, the certificate authorities of the system."""

    ca_file: AbsolutePath | None = Field(
        None, description="Path of a bundle of certificate authorities, PEM."
    )
    fingerprint: (
        Annotated[
            str,
            AfterValidator(_fingerprint),
            text_schema(
                matches("(?i:sha-?256:)?:*([0-9A-Fa-f]:*){64}", _NO_FINGERPRINT), longest=256
            ),
        ]
        | None
    ) = Field(None, description="SHA-256 of the one certificate that is accepted.")

    renamed: ClassVar[Mapping[str, str]] = {"ca": "caFile", "caBundle": "caFile"}
    later: ClassVar[Mapping[str, str]] = {
        "caSecretRef": "use caFile",
        "fingerprints": "use fingerprint, or caFile with the authority of all hosts",
        "insecure": "pin a self-signed certificate with fingerprint",
        "insecureSkipVerify": "pin a self-signed certificate with fingerprint",
    }
    rules: ClassVar[tuple[Rule, ...]] = (one_of("caFile", "fingerprint"),)

    @model_validator(mode="after")
    def _exactly_one(self) -> "Tls":
        if (self.ca_file is None) == (self.fingerprint is None):
            raise ValueError("must have exactly one of caFile and fingerprint")
        return self


class PoolSpec(Fields):
    """How to reach a pool and how much of it to use at once."""

    urls: tuple[
        Annotated[
            str,
            AfterValidator(_url),
            text_schema(
                *url_rules(secrets_in=_SECRETS_IN, example=_EXAMPLE),
                Rule(f"!{is_in_clear_rule('self')}", _IN_CLEAR),
                longest=1024,
            ),
        ],
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
    max_concurrent_replications: int = Field(
        4, ge=1, le=100, description="Replicas written into its SRs at once."
    )
    max_rate: Rate | None = Field(
        None, description="Of all that is read from the pool together, in bytes per second."
    )

    renamed: ClassVar[Mapping[str, str]] = {
        "url": "urls",
        "host": "urls",
        "hosts": "urls",
        "user": "username",
        "secretRef": "passwordFrom",
        "passwordRef": "passwordFrom",
        "passwordSecretRef": "passwordFrom",
        "credentials": "passwordFrom",
        "maxExportRate": "maxRate",
    }
    later: ClassVar[Mapping[str, str]] = {
        "dataPath": "disks travel over HTTPS for now",
        "networkRef": "exports take the management network for now",
        "suspend": "suspend the jobs of the pool instead",
    }
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("!has(self.tls) || self.urls.exists(url, url.startsWith('https://'))", _TLS_IN_VAIN),
    )

    @model_validator(mode="after")
    def _tls_has_a_use(self) -> "PoolSpec":
        if self.tls is not None and all(url.startswith("http://") for url in self.urls):
            raise ValueError(_TLS_IN_VAIN)
        return self

    def pool(self, identity: Identity) -> Pool:
        return Pool(
            name=PoolName(identity.full_name),
            urls=self.urls,
            username=self.username,
            password=self.password_from.reference(identity.namespace),
            ca=self.tls.ca_file if self.tls else None,
            fingerprint=self.tls.fingerprint if self.tls else None,
            exports_max=self.max_concurrent_exports,
            snapshots_max=self.max_concurrent_snapshots,
            replicas_max=self.max_concurrent_replications,
            rate_bytes_per_s=self.max_rate,
        )
