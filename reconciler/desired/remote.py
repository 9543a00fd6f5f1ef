"""Kind BackupRemote: a place where restore points lie."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from reconciler.desired.document import Identity
from reconciler.desired.envelope import Fields, Rate, Uuid
from reconciler.desired.place import S3, Local, Nfs, Smb
from reconciler.desired.rules import Rule, one_of
from reconciler.desired.secret import SecretSource
from reconciler.desired.state import DiskLayout, Remote
from reconciler.ids import RemoteName

_PLACES = ("local", "nfs", "smb", "s3")
_WHY_S3 = "objects cannot be changed in place"
_WHY_ENCRYPTED = "files are encrypted whole"


def _no_files(needs: str, why: str) -> str:
    return f"has layout: Files beside {needs}, where {why}; leave layout out"


class RemoteLimits(Fields):
    """How much of a remote to use at once."""

    max_concurrent_actions: int = Field(12, ge=1, le=100, description="Exports, merges … at once.")
    max_rate: Rate | None = Field(
        None, description="Of all that is written and read together, in bytes per second."
    )

    renamed: ClassVar[Mapping[str, str]] = {
        "concurrency": "maxConcurrentActions",
        "maxConcurrentUploads": "maxConcurrentActions",
        "rate": "maxRate",
    }


class Encryption(Fields):
    """Restore points are encrypted as Xen Orchestra does it."""

    key_from: SecretSource = Field(
        description="Where the key is found: 32 bytes of UTF-8. Who loses it, loses every point."
    )

    renamed: ClassVar[Mapping[str, str]] = {"secretRef": "keyFrom", "passphraseFrom": "keyFrom"}


class RemoteSpec(Fields):
    """A place for restore points, in the layout of Xen Orchestra."""

    local: Local | None = None
    nfs: Nfs | None = None
    smb: Smb | None = None
    s3: S3 | None = None
    access_mode: Literal["ReadWrite", "ReadOnly"] = Field(
        "ReadWrite", description="ReadOnly: restore from it, write and delete nothing."
    )
    layout: Literal["Files", "Blocks"] | None = Field(
        None,
        description="Of disks that are written: a file each, or a directory of compressed blocks."
        " Blocks on s3 and with encryption, else Files. Both are read.",
    )
    encryption: Encryption | None = None
    identity: Uuid | None = Field(
        None,
        description="The id in the place's .reconciler/remote.json: where it is another, nothing"
        " is written or deleted. Absent: the one found first.",
    )
    suspend: bool = Field(False, description="Start nothing on this remote; what runs, ends.")
    limits: RemoteLimits = RemoteLimits()

    renamed: ClassVar[Mapping[str, str]] = {
        "path": "local.path",
        "file": "local.path",
        "cifs": "smb",
        "key": "encryption.keyFrom",
        "readOnly": "accessMode",
    }
    later: ClassVar[Mapping[str, str]] = {
        "azure": "there are local, nfs, smb and s3",
        "immutability": "protect it with the place's own snapshots or object locks meanwhile",
        "probe": "remotes are looked at on every pass",
        "site": "use metadata.labels",
        "media": "use metadata.labels",
    }

    rules: ClassVar[tuple[Rule, ...]] = (
        one_of(*_PLACES),
        Rule(
            "!has(self.layout) || self.layout == 'Blocks' || !has(self.s3)",
            _no_files("s3", _WHY_S3),
        ),
        Rule(
            "!has(self.layout) || self.layout == 'Blocks' || !has(self.encryption) || has(self.s3)",
            _no_files("encryption", _WHY_ENCRYPTED),
        ),
    )

    @model_validator(mode="after")
    def _is_in_one_place(self) -> "RemoteSpec":
        given = [name for name in _PLACES if getattr(self, name) is not None]
        if not given:
            raise ValueError("has no place; give one of local, nfs, smb and s3")
        if len(given) > 1:
            raise ValueError(
                f"must have exactly one of local, nfs, smb and s3; there are {' and '.join(given)}"
            )
        return self

    @model_validator(mode="after")
    def _can_be_written_so(self) -> "RemoteSpec":
        if self.layout == "Files" and self._needs_blocks:
            beside = ("s3", _WHY_S3) if self.s3 else ("encryption", _WHY_ENCRYPTED)
            raise ValueError(_no_files(*beside))
        return self

    @property
    def _needs_blocks(self) -> bool:
        return self.s3 is not None or self.encryption is not None

    def remote(self, identity: Identity) -> Remote:
        spec = self.local or self.nfs or self.smb or self.s3
        assert spec is not None, "the spec was checked"
        otherwise = DiskLayout.BLOCKS if self._needs_blocks else DiskLayout.FILES
        return Remote(
            name=RemoteName(identity.full_name),
            place=spec.place(identity.namespace),
            read_only=self.access_mode == "ReadOnly",
            suspend=self.suspend,
            actions_max=self.limits.max_concurrent_actions,
            layout=DiskLayout(self.layout) if self.layout else otherwise,
            encryption=(
                self.encryption.key_from.reference(identity.namespace) if self.encryption else None
            ),
            identity=self.identity,
            rate_bytes_per_s=self.limits.max_rate,
        )
