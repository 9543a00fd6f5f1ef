"""What has to hold before a directory counts as a remote's, and again each time it was away.

Blocking; runs on a remote's own threads. For a share: it is mounted at its path (by the system), or
we mount it, and in both cases from the right source. For a directory that is said to be a mount
point: it is one. For all: the identity file says what it said when the remote was opened.
"""

import errno
import os
from dataclasses import dataclass, field

from reconciler.remotes import pulse
from reconciler.remotes.errors import WrongRemote
from reconciler.remotes.identity import IDENTITY_KEY, SIZE_MAX, IdentityInvalid, identity_in
from reconciler.remotes.mounting import Mounter
from reconciler.remotes.mounts import check_mounted, check_source, read_mounts
from reconciler.remotes.shares import SharePlace, SmbPlace


@dataclass(slots=True)
class Standing:
    """place: a share, or an absolute path; mount_point: that path must be one.

    identity: what the remote said it is when it was opened; None until then, or if it has none.
    """

    remote: str
    place: SharePlace | str
    mount_point: bool = False
    mounter: Mounter = field(default_factory=Mounter)
    identity: str | None = None

    @property
    def root(self) -> str:
        """The directory where the remote begins."""
        if isinstance(self.place, str):
            return self.place
        point = self.place.path or self.mounter.directory_of(self.remote)
        below = self.place.directory if isinstance(self.place, SmbPlace) else ""
        return f"{point}/{below}" if below else point

    def establish(self) -> None:
        """See to it that the right thing is mounted. Raises RemoteError, OSError."""
        place = self.place
        if isinstance(place, str):
            if self.mount_point:
                check_mounted(self.remote, place, read_mounts())
        elif place.path is None:
            self.mounter.mount(self.remote, place)
        else:
            check_source(self.remote, place, check_mounted(self.remote, place.path, read_mounts()))

    def prove(self) -> None:
        """The same for a remote that was open and whose directory now lies on another file system.

        Raises OSError (ESTALE) if nothing would tell it from another one.
        """
        self.establish()
        if self.identity is not None:
            self._check_identity(self.identity)
        elif isinstance(self.place, str):
            raise OSError(errno.ESTALE, "another file system than before is mounted here")

    def _check_identity(self, expected: str) -> None:
        path = f"{self.root}/{IDENTITY_KEY}"
        pulse.begin("open", IDENTITY_KEY)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                found = identity_in(os.read(descriptor, SIZE_MAX))
            finally:
                os.close(descriptor)
        except (FileNotFoundError, NotADirectoryError, IdentityInvalid):
            found = None
        if found != expected:
            raise WrongRemote(
                self.remote,
                IDENTITY_KEY,
                f"another share than before lies at {self.root}: its identity"
                f" {'is missing' if found is None else f'is {found}'}, it was {expected}",
            )
