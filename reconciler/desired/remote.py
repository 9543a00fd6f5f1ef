"""Kind BackupRemote: a place where restore points lie."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from reconciler.desired.envelope import AbsolutePath, Fields
from reconciler.desired.state import LocalPlace, Remote
from reconciler.ids import RemoteName


class Local(Fields):
    """A directory of this machine; NFS and SMB shares, too, once the system has mounted them."""

    path: AbsolutePath = Field(description="Absolute path of a directory that exists.")


class RemoteLimits(Fields):
    """How much of a remote to use at once."""

    max_concurrent_actions: int = Field(12, ge=1, le=100, description="Exports, merges … at once.")

    renamed: ClassVar[Mapping[str, str]] = {
        "concurrency": "maxConcurrentActions",
        "maxConcurrentUploads": "maxConcurrentActions",
    }
    later: ClassVar[Mapping[str, str]] = {"maxRate": "speed is not limited for now"}


class RemoteSpec(Fields):
    """A place for restore points, in the layout of Xen Orchestra."""

    local: Local
    access_mode: Literal["ReadWrite", "ReadOnly"] = Field(
        "ReadWrite", description="ReadOnly: restore from it, write and delete nothing."
    )
    suspend: bool = Field(False, description="Start nothing on this remote; what runs, ends.")
    limits: RemoteLimits = RemoteLimits()

    _MOUNT: ClassVar[str] = "mount the share with the system and give its directory as local.path"
    renamed: ClassVar[Mapping[str, str]] = {"path": "local.path", "file": "local.path"}
    later: ClassVar[Mapping[str, str]] = {
        "nfs": _MOUNT,
        "smb": _MOUNT,
        "s3": "this version writes to directories: local.path",
        "azure": "this version writes to directories: local.path",
        "encryption": "restore points are written unencrypted for now",
        "immutability": "protect the directory with the file system's snapshots meanwhile",
        "layout": "the layout is Xen Orchestra's",
        "probe": "remotes are looked at on every pass",
        "site": "use metadata.labels",
        "media": "use metadata.labels",
    }

    def remote(self, name: str) -> Remote:
        return Remote(
            name=RemoteName(name),
            place=LocalPlace(self.local.path),
            read_only=self.access_mode == "ReadOnly",
            suspend=self.suspend,
            actions_max=self.limits.max_concurrent_actions,
        )
