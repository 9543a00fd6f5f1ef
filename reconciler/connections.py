"""Opened pools and remotes by name: opened at first use, opened anew when their settings change.

Shared by observers and executor, so that a process holds one session per pool. Who works with one
for long holds a lease: what was opened with other settings is closed when its last holder lets go,
so that a transfer ends where it began. Knows how to open; never what for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import Generic, Protocol, Self, TypeVar, assert_never

import structlog

from reconciler.desired.state import (
    Desired,
    LocalPlace,
    NfsPlace,
    Pool,
    Remote,
    S3Place,
    SecretRef,
    SmbPlace,
    secrets_of,
)
from reconciler.ids import PoolName, RemoteName
from reconciler.latest import Latest
from reconciler.remotes import places, shares
from reconciler.remotes.errors import Denied, Missing, Unavailable
from reconciler.remotes.fenced import Permit
from reconciler.remotes.mounting import Mounter
from reconciler.remotes.mounts import mount_at, read_mounts
from reconciler.remotes.open import open_place
from reconciler.remotes.remote import Remote as OpenedRemote
from reconciler.xapi.client import XapiClient
from reconciler.xapi.trust import trust_of

log = structlog.get_logger(__name__)

_CA_BYTES_MAX = 4 * 1024 * 1024


class _Closable(Protocol):
    async def close(self) -> None: ...


class _Holdable(Protocol):
    def take(self) -> None: ...

    async def let_go(self) -> None: ...


Settings = TypeVar("Settings")
Opened = TypeVar("Opened", bound=_Closable)


class _Entry(Generic[Settings, Opened]):
    """An opened thing. settings: it was opened with. users: leases that hold it.

    retired: it is given to nobody any more, and closed when its last user lets go.
    """

    def __init__(self, settings: Settings, opened: Opened) -> None:
        self.settings = settings
        self.opened = opened
        self.users = 0
        self.retired = False

    def take(self) -> None:
        self.users += 1

    async def retire(self) -> None:
        self.retired = True
        if not self.users:
            await self.opened.close()

    async def let_go(self) -> None:
        self.users -= 1
        if self.retired and not self.users:
            await self.opened.close()


class _Shelf(Generic[Settings, Opened]):
    """Opened things by name."""

    def __init__(self, open_one: Callable[[Settings], Awaitable[Opened]]) -> None:
        self._open_one = open_one
        self._entries: dict[str, _Entry[Settings, Opened]] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    async def get(self, name: str, settings: Settings, holding: "Lease | None" = None) -> Opened:
        """Give what is opened with these settings. holding: who holds it from now on."""
        async with self._turns.setdefault(name, asyncio.Lock()):
            entry = self._entries.get(name)
            if entry is not None and entry.settings != settings:
                del self._entries[name]
                await entry.retire()
                entry = None
            if entry is None:
                entry = _Entry(settings, await self._open_one(settings))
                self._entries[name] = entry
            if holding is not None:
                holding._hold(entry)
            return entry.opened

    async def retire_where(self, fits: Callable[[Settings], bool]) -> None:
        """Retire those whose settings fit; whoever wants one opens it again."""
        for name in [name for name, entry in self._entries.items() if fits(entry.settings)]:
            async with self._turns[name]:
                entry = self._entries.pop(name, None)
                if entry is not None:
                    await entry.retire()

    async def close(self) -> None:
        """Close all that is given to new users. What is retired, its users close."""
        while self._entries:
            _, entry = self._entries.popitem()
            await entry.opened.close()


class Lease:
    """What its holders were given stays open until the last of them has left, whatever becomes
    of its settings meanwhile. Entered by each holder; any number at once, and again.
    """

    def __init__(self, connections: "Connections") -> None:
        self._connections = connections
        self._holders = 0
        self._held: list[_Holdable] = []

    async def pool(self, name: PoolName) -> XapiClient:
        """As `Connections.pool`."""
        return await self._connections.pool(name, self)

    async def remote(self, name: RemoteName) -> OpenedRemote:
        """As `Connections.remote`."""
        return await self._connections.remote(name, self)

    async def __aenter__(self) -> Self:
        self._holders += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._holders -= 1
        while self._held and not self._holders:
            await self._held.pop().let_go()

    def _hold(self, entry: _Holdable) -> None:
        assert self._holders, "what nobody holds would never be let go"
        if entry not in self._held:
            entry.take()
            self._held.append(entry)


class Connections:
    """Gives opened pools and remotes of the newest desired state."""

    def __init__(
        self,
        desired: Latest[Desired],
        reveal: Callable[[SecretRef], str],
        *,
        read_only: bool = False,
        mounts: bool | None = None,
        mounter: Mounter | None = None,
        permit: Permit | None = None,
    ) -> None:
        """reveal: fetches a secret at the moment of its use, or raises LookupError. May block.

        read_only: opens every remote so, whatever is desired: nothing is written by looking.
        mounts: shares that the operator mounts are mounted when they are not; otherwise they are
        used where they are mounted already. None: unless read_only. permit: asked right before
        anything on a pool or remote is changed; None: it always may be.
        """
        self._desired = desired
        self._reveal = reveal
        self._read_only = read_only
        self._mounts = not read_only if mounts is None else mounts
        self._mounter = mounter or Mounter()
        self._permit = permit
        self._pools: _Shelf[Pool, XapiClient] = _Shelf(self._open_pool)
        self._remotes: _Shelf[Remote, OpenedRemote] = _Shelf(self._open_remote)
        self._limited: set[RemoteName] = set()  # that were opened so that they can be

    def lease(self) -> Lease:
        return Lease(self)

    async def pool(self, name: PoolName, holding: Lease | None = None) -> XapiClient:
        """Raises XapiError; KeyError if no such pool is desired any more.

        holding: keeps it open. Without, it may be closed as soon as its settings change."""
        pool = self._desired.value.pools[name]
        # What only the planner or a shared rate looks at opens nothing anew.
        opened_by = replace(pool, snapshots_max=1, replicas_max=1, rate_bytes_per_s=None)
        return await self._pools.get(name, opened_by, holding)

    async def remote(self, name: RemoteName, holding: Lease | None = None) -> OpenedRemote:
        """Raises RemoteError. holding: as of `pool`."""
        settings = self._desired.value.remotes.get(name)
        if settings is None:
            raise Missing(name, "", "no such remote is desired any more")
        if settings.rate_bytes_per_s is not None:
            self._limited.add(name)
        rate = 1 if name in self._limited else None  # that there is one; how much is asked anew
        opened_by = replace(settings, actions_max=1, suspend=False, rate_bytes_per_s=rate)
        return await self._remotes.get(name, opened_by, holding)

    async def renew(self, changed: Collection[SecretRef]) -> None:
        """Have remotes opened anew that were opened with a secret that is another now.

        Pools ask for their password at each login; a session that lasts needs none.
        """
        await self._remotes.retire_where(lambda remote: not secrets_of(remote).isdisjoint(changed))

    async def close(self) -> None:
        await self._pools.close()
        await self._remotes.close()

    async def _open_pool(self, pool: Pool) -> XapiClient:
        return XapiClient(
            pool.urls,
            pool.username,
            lambda: self._reveal(pool.password),
            trust_of(pool.ca, pool.fingerprint),
            transfers_max=pool.exports_max,
            permit=self._permit,
        )

    async def _open_remote(self, remote: Remote) -> OpenedRemote:
        await asyncio.to_thread(self._check_secrets, remote)
        try:
            place = await asyncio.to_thread(self._place_of, remote)
        except shares.PlaceInvalid as error:
            raise Unavailable(remote.name, "", str(error)) from error
        key = remote.encryption
        return await open_place(
            remote.name,
            place,
            identity=remote.identity,
            read_only=self._read_only or remote.read_only,
            mounter=self._mounter,
            encryption_key=None if key is None else lambda: self._reveal(key),
            rate_bytes_per_s=None
            if remote.rate_bytes_per_s is None
            else lambda: self._rate_of(remote.name),
            permit=self._permit,
        )

    def _rate_of(self, name: RemoteName) -> int | None:
        """The bandwidth that a remote is to have right now."""
        settings = self._desired.value.remotes.get(name)
        return None if settings is None else settings.rate_bytes_per_s

    def _check_secrets(self, remote: Remote) -> None:
        """Raise Denied unless all secrets can be had: later, nobody could say which it was."""
        place = remote.place
        wanted = {"encryption key": remote.encryption}
        if isinstance(place, SmbPlace):
            wanted["password"] = place.password
        if isinstance(place, S3Place):
            wanted |= {"access key": place.access_key, "secret key": place.secret_key}
        for what, reference in wanted.items():
            if reference is None:
                continue
            try:
                self._reveal(reference)
            except LookupError as error:
                raise Denied(remote.name, "", f"the {what} cannot be read: {error}") from error

    def _place_of(self, remote: Remote) -> places.Place:
        """Say a remote's place in the words of those who open it. Blocks. Raises RemoteError."""
        match remote.place:
            case LocalPlace(path=path, mount_point=mount_point):
                return places.LocalPlace(path, mount_point)
            case NfsPlace() as nfs:
                return shares.NfsPlace(
                    _authority(nfs.server),
                    nfs.export,
                    nfs.path or self._mounted_at(remote),
                    nfs.options,
                    read_only=remote.read_only,
                )
            case SmbPlace(password=password) as smb:
                return shares.SmbPlace(
                    _authority(smb.server),
                    smb.share,
                    smb.directory,
                    smb.path or self._mounted_at(remote),
                    smb.username,
                    smb.domain,
                    None if password is None else lambda: self._reveal(password),
                    smb.options,
                    read_only=remote.read_only,
                )
            case S3Place() as s3:
                return places.S3Place(
                    bucket=s3.bucket,
                    access_key=self._reveal(s3.access_key),
                    secret_key=lambda: self._reveal(s3.secret_key),
                    endpoint=s3.endpoint,
                    prefix=s3.prefix,
                    region=s3.region,
                    path_style=not s3.virtual_host,
                    plain_http=s3.endpoint.startswith("http://"),  # which the manifest allowed
                    ca=None if s3.ca is None else _read_ca(remote.name, s3.ca),
                )
            case place:
                assert_never(place)

    def _mounted_at(self, remote: Remote) -> str | None:
        """Where a share is that the operator mounts; None: it is for the mounter to mount it."""
        if self._mounts:
            return None
        directory = self._mounter.directory_of(remote.name)
        if mount_at(read_mounts(), directory) is None:
            message = "it is for the operator to mount, which has not; looking mounts nothing"
            raise Unavailable(remote.name, "", message)
        return directory


def _authority(server: str) -> str:
    """Write a server as URLs and mounts have it: an IPv6 address in brackets."""
    return f"[{server}]" if ":" in server else server


def _read_ca(remote: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_CA_BYTES_MAX)
    except OSError as error:
        raise Denied(remote, "", f"{path} (caFile) cannot be read: {error.strerror}") from error
