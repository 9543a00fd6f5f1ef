"""What can stand in the way of changing a VM's directory on a remote. RemoteError comes beside it.

CatalogError
├─ LockedByOther    somebody else works in the directory
├─ LockLost         our lock was taken over; whatever was under way has been stopped
├─ MetadataInvalid  a point's metadata is not what it must be
└─ NotSafe           on the remote it is not, or no longer, as the action needs it; nothing was done
   └─ LastGoodPoint  it would take the last point that can be restored
"""


class CatalogError(Exception):
    pass


class LockedByOther(CatalogError):
    """key: of the lock. age_s: seconds since it was last touched, by the file server's clock."""

    def __init__(self, remote: str, key: str, age_s: float) -> None:
        super().__init__(
            f"{remote}:{key}: somebody else holds the lock (touched {age_s:.1f} s ago)"
        )
        self.remote = remote
        self.key = key
        self.age_s = age_s


class LockLost(CatalogError):
    def __init__(self, remote: str, key: str, why: str) -> None:
        super().__init__(f"{remote}:{key}: the lock is lost: {why}")
        self.remote = remote
        self.key = key
        self.why = why


class MetadataInvalid(CatalogError):
    """The message says what is wrong with it, in words for a person."""


class NotSafe(CatalogError):
    """path: relative to the VM's directory. why: what makes it unsafe."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


class LastGoodPoint(NotSafe):
    pass
