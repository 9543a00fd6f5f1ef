"""Where a remote lies: a directory, a share, a bucket; each with what only its kind can get wrong.

What stands here goes into mounts and into URLs later. So every text is checked for what it could
mean there beside itself: an option that hides in another, a path that leads elsewhere, a secret
that any user of the machine could read in the table of mounts.
"""

import re
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from reconciler.desired.address import check_host, check_url, is_in_clear
from reconciler.desired.envelope import AbsolutePath, Fields, Text
from reconciler.desired.mount_options import check_nfs_option, check_smb_option
from reconciler.desired.secret import SecretSource
from reconciler.desired.state import LocalPlace, MountedBy, NfsPlace, S3Place, SmbPlace

# Meaningful to mount, to shells, to Windows, or to whoever reads the table of mounts.
_STRANGE = re.compile(r"""[\x00-\x1f\x7f"'\\,;:*?<>|$&`]""")
_STRANGE_IN_SHARE = re.compile(r"""[\x00-\x1f\x7f"'\\/\[\]:|<>+=;,*?%&`]""")
_STRANGE_IN_USER = re.compile(r"""[\x00-\x1f\x7f"\\/,;:*?<>|%]""")
_DOMAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,253}[A-Za-z0-9])?")
_BUCKET = re.compile(r"(?=.{3,63}$)[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_PREFIX = re.compile(r"(?=.{1,512}$)[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_REGION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")


def _bad(message: str, example: str) -> ValueError:
    return ValueError(f"{message}; for example {example}")


def _export(text: str) -> str:
    if not text.startswith("/") or "//" in text or _STRANGE.search(text):
        raise _bad("must be the path that the server exports", "/srv/backups")
    if {".", ".."} & set(text.split("/")):
        raise ValueError("must be a path without . and ..")
    return text.rstrip("/") or "/"


def _share(text: str) -> str:
    if _STRANGE_IN_SHARE.search(text) or text in (".", "..") or text != text.strip():
        hint = "backups; directories below it belong to spec.smb.directory"
        raise _bad("must be the name of a share", hint)
    return text


def _directory(text: str) -> str:
    if _STRANGE.search(text) or "//" in text:
        raise _bad("must be a path below the share", "xen/paris")
    if {".", ".."} & set(text.split("/")):
        raise ValueError("must be a path without . and ..")
    return text.strip("/")


def _user(text: str) -> str:
    if _STRANGE_IN_USER.search(text):
        raise ValueError("must be the name of a user alone; its domain has a field")
    return text


def _domain(text: str) -> str:
    if not _DOMAIN.fullmatch(text):
        raise _bad("must be the name of a domain", "EXAMPLE or ad.example.net")
    return text


def _endpoint(text: str) -> str:
    example = "a server; for example https://s3.example.net (the bucket has a field)"
    return check_url(text, secrets_in="accessKeyFrom and secretKeyFrom", example=example)


def _bucket(text: str) -> str:
    if not _BUCKET.fullmatch(text) or ".." in text or _is_ipv4(text):
        raise ValueError(
            "must be the name of a bucket; 3 to 63 lower-case letters, digits, - and . between them"
        )
    return text


def _prefix(text: str) -> str:
    bare = text.strip("/")
    if not _PREFIX.fullmatch(bare) or {".", ".."} & set(bare.split("/")):
        raise ValueError(
            "must be what keys begin with; letters, digits, - . and _, with / between them"
        )
    return bare


def _region(text: str) -> str:
    if not _REGION.fullmatch(text):
        raise _bad("must be the name of a region", "eu-west-3")
    return text


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


_TEXT = WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 1024})
Host = Annotated[Text, AfterValidator(check_host)]
_OPTION_TEXT = WithJsonSchema({"type": "string", "maxLength": 160})
NfsOption = Annotated[str, AfterValidator(check_nfs_option), _OPTION_TEXT]
SmbOption = Annotated[str, AfterValidator(check_smb_option), _OPTION_TEXT]


class Local(Fields):
    """A directory of this machine."""

    path: AbsolutePath = Field(description="Absolute path of a directory that exists.")
    mount_point: bool = Field(
        False, description="It must be one: where nothing is mounted, the remote is not there."
    )

    renamed: ClassVar[Mapping[str, str]] = {"directory": "path", "isMountPoint": "mountPoint"}

    def place(self, _namespace: str) -> LocalPlace:
        return LocalPlace(self.path, self.mount_point)


_OPTIONS = "Of the mount, where the operator makes it."


class _Share(Fields):
    """What NFS and SMB have in common."""

    path: AbsolutePath | None = Field(
        None, description="Where the system mounts it; none if the operator does."
    )
    mounted: Literal["System", "Operator"] = Field(
        "System",
        description="By whom: System (fstab, a volume of the pod) or Operator, which must be root.",
    )
    options: tuple[str, ...] = ()

    renamed: ClassVar[Mapping[str, str]] = {
        "host": "server",
        "mountPoint": "path",
        "mountPath": "path",
        "mountedBy": "mounted",
        "mountOptions": "options",
    }
    later: ClassVar[Mapping[str, str]] = {
        "port": "write options: [port=…]",
        "version": "write options: [vers=…]",
        "vers": "write options: [vers=…]",
    }

    @property
    def mounted_by(self) -> MountedBy:
        return MountedBy(self.mounted)

    @model_validator(mode="after")
    def _is_mounted_by_one(self) -> "_Share":
        by_operator = self.mounted_by is MountedBy.OPERATOR
        if not by_operator and self.path is None:
            raise ValueError("has no path; say where the system mounts it, or mounted: Operator")
        if by_operator and self.path is not None:
            raise ValueError("has a path, and mounted: Operator; the operator chooses where")
        if not by_operator and self.options:
            raise ValueError("has options; they are for mounted: Operator")
        return self


class Nfs(_Share):
    """An NFS share."""

    server: Host = Field(description="Name or address.")
    export: Annotated[str, AfterValidator(_export), _TEXT] = Field(
        description="Path that the server exports."
    )
    options: tuple[NfsOption, ...] = Field((), max_length=32, description=_OPTIONS)

    renamed: ClassVar[Mapping[str, str]] = {**_Share.renamed, "share": "export"}

    def place(self, _namespace: str) -> NfsPlace:
        return NfsPlace(self.server, self.export, self.path, self.mounted_by, self.options)


class Smb(_Share):
    """An SMB share (CIFS)."""

    server: Host = Field(description="Name or address.")
    share: Annotated[str, Field(min_length=1, max_length=80), AfterValidator(_share)] = Field(
        description="Name of the share."
    )
    directory: Annotated[str, Field(max_length=1024), AfterValidator(_directory)] = Field(
        "", description="Below the share."
    )
    username: Annotated[Text, AfterValidator(_user)] | None = Field(
        None, description="Who logs in, where the operator mounts it; without one, a guest does."
    )
    domain: Annotated[str, AfterValidator(_domain), _TEXT] | None = None
    password_from: SecretSource | None = None
    options: tuple[SmbOption, ...] = Field((), max_length=32, description=_OPTIONS)

    renamed: ClassVar[Mapping[str, str]] = {
        **_Share.renamed,
        "user": "username",
        "workgroup": "domain",
        "subdirectory": "directory",
        "secretRef": "passwordFrom",
        "passwordRef": "passwordFrom",
    }

    @model_validator(mode="after")
    def _logs_in_where_it_mounts(self) -> "Smb":
        if (self.username is None) != (self.password_from is None):
            raise ValueError("must have both username and passwordFrom, or neither")
        if self.domain is not None and self.username is None:
            raise ValueError("has a domain, but no username")
        if self.username is not None and self.mounted_by is MountedBy.SYSTEM:
            raise ValueError("has a username; the system logs in where it mounts the share")
        return self

    def place(self, namespace: str) -> SmbPlace:
        return SmbPlace(
            server=self.server,
            share=self.share,
            directory=self.directory,
            path=self.path,
            mounted_by=self.mounted_by,
            username=self.username or "",
            domain=self.domain or "",
            password=(self.password_from.reference(namespace) if self.password_from else None),
            options=self.options,
        )


class S3(Fields):
    """A bucket of any S3-compatible server."""

    endpoint: Annotated[str, AfterValidator(_endpoint), WithJsonSchema({"type": "string"})] = Field(
        description="URL of the server, without the bucket."
    )
    bucket: Annotated[str, AfterValidator(_bucket), _TEXT]
    prefix: Annotated[str, AfterValidator(_prefix), _TEXT] | None = Field(
        None, description="What all keys begin with: dc1 for dc1/xo-vm-backups/…"
    )
    region: Annotated[str, AfterValidator(_region), _TEXT] = Field(
        "us-east-1", description="Servers of one's own mostly take any."
    )
    access_key_from: SecretSource = Field(description="Where the access key is found.")
    secret_key_from: SecretSource = Field(description="Where the secret key is found.")
    ca_file: AbsolutePath | None = Field(
        None, description="Path of a bundle of certificate authorities, PEM."
    )
    virtual_host_style: bool = Field(
        False, description="https://BUCKET.server/key rather than https://server/BUCKET/key."
    )
    insecure: bool = Field(
        False, description="Allow http:// to another machine: all is readable on the way."
    )

    renamed: ClassVar[Mapping[str, str]] = {
        "url": "endpoint",
        "host": "endpoint",
        "path": "prefix",
        "directory": "prefix",
        "accessKey": "accessKeyFrom",
        "accessKeyId": "accessKeyFrom",
        "secretKey": "secretKeyFrom",
        "secretAccessKey": "secretKeyFrom",
        "ca": "caFile",
        "caBundle": "caFile",
        "pathStyle": "virtualHostStyle",
        "forcePathStyle": "virtualHostStyle",
    }
    later: ClassVar[Mapping[str, str]] = {
        "secretRef": "give accessKeyFrom and secretKeyFrom",
        "credentials": "give accessKeyFrom and secretKeyFrom",
        "insecureSkipVerify": "give the server's authority as caFile",
        "storageClass": "set it with the bucket's lifecycle rules",
    }

    @model_validator(mode="after")
    def _is_reached_safely(self) -> "S3":
        if is_in_clear(self.endpoint) and not self.insecure:
            raise ValueError(
                "must have an endpoint that begins with https://; without encryption backups"
                " travel in clear (to accept that, write insecure: true)"
            )
        if self.insecure and self.endpoint.startswith("https://"):
            raise ValueError(
                "has insecure: true, and an endpoint that begins with https://;"
                " to trust an authority of your own, give caFile"
            )
        if self.ca_file is not None and self.endpoint.startswith("http://"):
            raise ValueError("has caFile, but an endpoint that begins with http://")
        return self

    @model_validator(mode="after")
    def _is_a_host_of_its_own(self) -> "S3":
        if self.virtual_host_style and "." in self.bucket and self.endpoint.startswith("https://"):
            raise ValueError(
                "has virtualHostStyle, and a bucket with dots;"
                " no certificate vouches for BUCKET.server then: leave virtualHostStyle out"
            )
        return self

    def place(self, namespace: str) -> S3Place:
        return S3Place(
            endpoint=self.endpoint,
            bucket=self.bucket,
            access_key=self.access_key_from.reference(namespace),
            secret_key=self.secret_key_from.reference(namespace),
            prefix=self.prefix or "",
            region=self.region,
            ca=self.ca_file,
            virtual_host=self.virtual_host_style,
        )
