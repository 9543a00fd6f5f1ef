"""Shares of file servers, NFS and SMB: what is known of one before it is mounted.

Sources and options end up on mount(8)'s command line and, joined by commas, in one option string:
so each is checked here against what such a thing looks like, and options against the names that
are known to do no harm. Options that break a promise of ours are refused with the reason.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

_HOST = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?\]"
)
_WORD = re.compile(r"[A-Za-z0-9_.:/@+-]*")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Of every file system: nothing on a share is run, or trusted for what it says it is.
_ALWAYS = ("nosuid", "nodev", "noexec")
_OF_ALL = frozenset({"noatime", "nodiratime", "relatime", "sync", "dirsync", *_ALWAYS})

_NFS_OPTIONS = _OF_ALL | _words(
    "vers nfsvers minorversion proto port timeo retrans retry rsize wsize sec hard softerr soft"
    " softreval nosoftreval nconnect max_connect trunkdiscovery notrunkdiscovery xprtsec clientaddr"
    " ac noac actimeo acregmin acregmax acdirmin acdirmax lookupcache resvport noresvport"
    " rdirplus nordirplus sharecache nosharecache migration nomigration tcp rdma"
    " lock nolock local_lock mountport mountproto mountvers mounthost fg"
)
_SMB_OPTIONS = _OF_ALL | _words(
    "vers sec seal sign port ip uid gid forceuid noforceuid forcegid noforcegid file_mode dir_mode"
    " iocharset cache actimeo acregmax acdirmax closetimeo rsize wsize bsize rasize max_credits"
    " echo_interval hard soft nobrl serverino noserverino persistenthandles nopersistenthandles"
    " resilienthandles noresilienthandles handletimeout multichannel max_channels nohandlecache"
    " perm noperm posix noposix unix nounix mapposix mapchars nomapchars compress rdma nodfs"
    " nosharesock domainauto netbiosname servern guest strictsync"
)
_REFUSED: Mapping[str, str] = {
    "nostrictsync": "without syncs that reach the server, what was written may not survive it",
    "async": "it is the default and says nothing",
    "ro": "say accessMode: ReadOnly instead",
    "rw": "say accessMode: ReadWrite instead",
    **dict.fromkeys(
        _words("user username pass password pass2 password2 cred credentials dom domain"),
        "credentials have fields of their own, and never stand on a command line",
    ),
}


class PlaceInvalid(ValueError):
    """A place cannot be: the message says what of it, and why."""


@dataclass(frozen=True, slots=True)
class NfsPlace:
    """An NFS share: `server:/export`. path: where the system mounts it; None: we do.

    options: of mount(8), when we do; beside `nosuid,nodev,noexec,noatime,hard`. read_only: mount it
    so. Raises PlaceInvalid.
    """

    server: str
    export: str
    path: str | None = None
    options: tuple[str, ...] = ()
    read_only: bool = False

    def __post_init__(self) -> None:
        _check_host(self.server)
        if not self.export.startswith("/"):
            raise PlaceInvalid(f"the export {self.export!r} is not an absolute path")
        _check_text("the export", self.export)
        _check_options(self.options, _NFS_OPTIONS)

    @property
    def source(self) -> str:
        return f"{self.server}:{self.export}"

    @property
    def kinds(self) -> frozenset[str]:
        """What mounted shares of this kind call themselves."""
        return frozenset({"nfs", "nfs4"})

    @property
    def directory(self) -> str:
        """Below the mount point, where the remote begins; "" is at it."""
        return ""

    def option_string(self) -> str:
        defaults = ("noatime", "hard")
        return _joined(self.options, defaults, read_only=self.read_only)


@dataclass(frozen=True, slots=True)
class SmbPlace:
    """An SMB share: `//server/share`, and a directory below it. path, options: as of NfsPlace.

    username: "" mounts as a guest. password: fetches it at the moment of its use.
    Raises PlaceInvalid.
    """

    server: str
    share: str
    directory: str = ""
    path: str | None = None
    username: str = ""
    domain: str = ""
    password: Callable[[], str] | None = field(default=None, repr=False)
    options: tuple[str, ...] = ()
    read_only: bool = False

    def __post_init__(self) -> None:
        _check_host(self.server)
        if not self.share or "/" in self.share or "\\" in self.share:
            raise PlaceInvalid(f"{self.share!r} is not the name of a share")
        _check_text("the share", self.share)
        _check_text("the directory", self.directory)
        if any(part in ("", ".", "..") for part in self.directory.split("/")) and self.directory:
            raise PlaceInvalid(f"{self.directory!r} is not a directory below the share")
        _check_text("the username", self.username)
        _check_text("the domain", self.domain)
        _check_options(self.options, _SMB_OPTIONS)

    @property
    def source(self) -> str:
        return f"//{self.server}/{self.share}"

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset({"cifs", "smb3"})

    def option_string(self, credentials: str | None) -> str:
        """credentials: path of the file that holds them; None: as a guest."""
        who = "guest" if credentials is None else f"credentials={credentials}"
        defaults = ("noatime", "file_mode=0600", "dir_mode=0700", who)
        return _joined(self.options, defaults, read_only=self.read_only)

    def credentials(self) -> str:
        """What mount.cifs reads of a credentials file. Raises PlaceInvalid."""
        password = self.password() if self.password is not None else ""
        if "\n" in password or "\0" in password or "\r" in password:
            raise PlaceInvalid("the password has a line end in it, which mount.cifs cannot read")
        lines = [f"username={self.username}", f"password={password}"]
        if self.domain:
            lines.append(f"domain={self.domain}")
        return "\n".join(lines) + "\n"


SharePlace = NfsPlace | SmbPlace


def _joined(options: Sequence[str], defaults: Sequence[str], *, read_only: bool) -> str:
    """The option string; a default gives way to an option of the same name, or its opposite."""
    said = {option.partition("=")[0] for option in options}
    opposites = {"hard": {"soft", "softerr"}, "noatime": {"relatime"}}
    kept = [
        each
        for each in defaults
        if not said & {each.partition("=")[0], *opposites.get(each, set())}
    ]
    return ",".join(["ro" if read_only else "rw", *_ALWAYS, *kept, *options])


def _check_host(server: str) -> None:
    if not _HOST.fullmatch(server):
        raise PlaceInvalid(f"{server!r} is not the name or address of a server")


def _check_text(what: str, text: str) -> None:
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise PlaceInvalid(f"{what} {text!r} has control characters in it")


def _check_options(options: Sequence[str], known: frozenset[str]) -> None:
    for option in options:
        name, _, value = option.partition("=")
        if name in _REFUSED:
            raise PlaceInvalid(f"mount option {name!r} is refused: {_REFUSED[name]}")
        if name not in known:
            raise PlaceInvalid(f"mount option {name!r} is not one of those that are allowed")
        if not _WORD.fullmatch(value):
            raise PlaceInvalid(f"mount option {name!r} has an odd value: {value!r}")
