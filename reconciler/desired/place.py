"""Where a remote lies: a directory, a share, a bucket; and which fields of each fit together."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from reconciler.desired.address import is_in_clear, is_in_clear_rule
from reconciler.desired.envelope import AbsolutePath, Fields
from reconciler.desired.place_texts import (
    Bucket,
    Directory,
    Domain,
    Endpoint,
    Export,
    Host,
    NfsOption,
    Prefix,
    Region,
    Share,
    SmbOption,
    User,
)
from reconciler.desired.rules import Rule
from reconciler.desired.secret import SecretSource
from reconciler.desired.state import LocalPlace, MountedBy, NfsPlace, S3Place, SmbPlace


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
_NO_PATH = "has no path; say where the system mounts it, or mounted: Operator"
_TWO_PATHS = "has a path, and mounted: Operator; the operator chooses where"
_OPTIONS_IN_VAIN = "has options; they are for mounted: Operator"


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
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.mounted == 'Operator' || has(self.path)", _NO_PATH),
        Rule("self.mounted == 'System' || !has(self.path)", _TWO_PATHS),
        Rule(
            "self.mounted == 'Operator' || !has(self.options) || size(self.options) == 0",
            _OPTIONS_IN_VAIN,
        ),
    )

    @property
    def mounted_by(self) -> MountedBy:
        return MountedBy(self.mounted)

    @model_validator(mode="after")
    def _is_mounted_by_one(self) -> "_Share":
        by_operator = self.mounted_by is MountedBy.OPERATOR
        if not by_operator and self.path is None:
            raise ValueError(_NO_PATH)
        if by_operator and self.path is not None:
            raise ValueError(_TWO_PATHS)
        if not by_operator and self.options:
            raise ValueError(_OPTIONS_IN_VAIN)
        return self


class Nfs(_Share):
    """An NFS share."""

    server: Host = Field(description="Name or address.")
    export: Export = Field(description="Path that the server exports.")
    options: tuple[NfsOption, ...] = Field((), max_length=32, description=_OPTIONS)

    renamed: ClassVar[Mapping[str, str]] = {**_Share.renamed, "share": "export"}

    def place(self, _namespace: str) -> NfsPlace:
        return NfsPlace(self.server, self.export, self.path, self.mounted_by, self.options)


_HALF_A_LOGIN = "must have both username and passwordFrom, or neither"
_LONE_DOMAIN = "has a domain, but no username"
_LOGIN_IN_VAIN = "has a username; the system logs in where it mounts the share"


class Smb(_Share):
    """An SMB share (CIFS)."""

    server: Host = Field(description="Name or address.")
    share: Share = Field(description="Name of the share.")
    directory: Directory = Field("", description="Below the share.")
    username: User | None = Field(
        None, description="Who logs in, where the operator mounts it; without one, a guest does."
    )
    domain: Domain | None = Field(None, description="Of the user, where there is one.")
    password_from: SecretSource | None = Field(
        None, description="Where the user's password is found."
    )
    options: tuple[SmbOption, ...] = Field((), max_length=32, description=_OPTIONS)

    renamed: ClassVar[Mapping[str, str]] = {
        **_Share.renamed,
        "user": "username",
        "workgroup": "domain",
        "subdirectory": "directory",
        "secretRef": "passwordFrom",
        "passwordRef": "passwordFrom",
    }
    rules: ClassVar[tuple[Rule, ...]] = (
        *_Share.rules,
        Rule("has(self.username) == has(self.passwordFrom)", _HALF_A_LOGIN),
        Rule("!has(self.domain) || has(self.username)", _LONE_DOMAIN),
        Rule("!has(self.username) || self.mounted == 'Operator'", _LOGIN_IN_VAIN),
    )

    @model_validator(mode="after")
    def _logs_in_where_it_mounts(self) -> "Smb":
        if (self.username is None) != (self.password_from is None):
            raise ValueError(_HALF_A_LOGIN)
        if self.domain is not None and self.username is None:
            raise ValueError(_LONE_DOMAIN)
        if self.username is not None and self.mounted_by is MountedBy.SYSTEM:
            raise ValueError(_LOGIN_IN_VAIN)
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


_IN_CLEAR = (
    "must have an endpoint that begins with https://; without encryption backups"
    " travel in clear (to accept that, write insecure: true)"
)
_INSECURE_IN_VAIN = (
    "has insecure: true, and an endpoint that begins with https://;"
    " to trust an authority of your own, give caFile"
)
_CA_IN_VAIN = "has caFile, but an endpoint that begins with http://"
_NO_CERTIFICATE = (
    "has virtualHostStyle, and a bucket with dots;"
    " no certificate vouches for BUCKET.server then: leave virtualHostStyle out"
)


class S3(Fields):
    """A bucket of any S3-compatible server."""

    endpoint: Endpoint = Field(description="URL of the server, without the bucket.")
    bucket: Bucket = Field(description="It must exist.")
    prefix: Prefix | None = Field(
        None, description="What all keys begin with: dc1 for dc1/xo-vm-backups/…"
    )
    region: Region = Field("us-east-1", description="Servers of one's own mostly take any.")
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
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(f"self.insecure || !{is_in_clear_rule('self.endpoint')}", _IN_CLEAR),
        Rule("!self.insecure || !self.endpoint.startsWith('https://')", _INSECURE_IN_VAIN),
        Rule("!has(self.caFile) || !self.endpoint.startsWith('http://')", _CA_IN_VAIN),
        Rule(
            "!self.virtualHostStyle || !self.bucket.contains('.') ||"
            " !self.endpoint.startsWith('https://')",
            _NO_CERTIFICATE,
        ),
    )

    @model_validator(mode="after")
    def _is_reached_safely(self) -> "S3":
        if is_in_clear(self.endpoint) and not self.insecure:
            raise ValueError(_IN_CLEAR)
        if self.insecure and self.endpoint.startswith("https://"):
            raise ValueError(_INSECURE_IN_VAIN)
        if self.ca_file is not None and self.endpoint.startswith("http://"):
            raise ValueError(_CA_IN_VAIN)
        return self

    @model_validator(mode="after")
    def _is_a_host_of_its_own(self) -> "S3":
        if self.virtual_host_style and "." in self.bucket and self.endpoint.startswith("https://"):
            raise ValueError(_NO_CERTIFICATE)
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
