"""Open a remote by what is known of its place: the right kind, in the right skins."""

import os
from collections.abc import Callable
from errno import ENOENT, ENOTDIR
from typing import assert_never

from reconciler.remotes.encrypted import EncryptedRemote, expect_not_encrypted
from reconciler.remotes.errors import Missing
from reconciler.remotes.fenced import FencedRemote, Permit
from reconciler.remotes.file import THREADS, FileRemote
from reconciler.remotes.limited import LimitedRemote
from reconciler.remotes.mounting import Mounter
from reconciler.remotes.places import LocalPlace, Place, S3Place
from reconciler.remotes.posix import PosixFilesystem
from reconciler.remotes.rate import Rate
from reconciler.remotes.remote import Remote
from reconciler.remotes.s3 import S3Remote
from reconciler.remotes.shares import NfsPlace, SharePlace, SmbPlace
from reconciler.remotes.standing import Standing
from reconciler.remotes.threads import DEFAULT_PATIENCE, Patience, Threads


async def open_place(
    name: str,
    place: Place,
    *,
    identity: str | None = None,
    read_only: bool = False,
    mounter: Mounter | None = None,
    encryption_key: Callable[[], str] | None = None,
    rate_bytes_per_s: int | Callable[[], int | None] | None = None,
    permit: Permit | None = None,
) -> Remote:
    """Open a remote of any kind. The caller closes it (`await remote.close()`).

    identity: what the identity file must say; None: whatever it says is what it must say from now
    on. read_only: nothing is written, not even to find out what the place can do, nor an identity.
    mounter: mounts the shares that nobody else does. encryption_key: fetches the key of an
    encrypted remote; None: it is not encrypted, and refused (WrongKey) if it says that it is.
    rate_bytes_per_s: of all traffic with it; a function is asked again and again. permit: asked
    right before anything is changed; None: it always may be.
    Raises WrongRemote if it is not the one that is meant, and other RemoteErrors.
    """
    return await in_skins(
        await _open_bare(name, place, identity, read_only=read_only, mounter=mounter),
        read_only=read_only,
        encryption_key=encryption_key,
        rate_bytes_per_s=rate_bytes_per_s,
        permit=permit,
    )


async def in_skins(
    remote: Remote,
    *,
    read_only: bool = False,
    encryption_key: Callable[[], str] | None = None,
    rate_bytes_per_s: int | Callable[[], int | None] | None = None,
    permit: Permit | None = None,
) -> Remote:
    """Put an opened remote into its skins, as `open_place` does; closes it if that fails."""
    try:
        if permit is not None:
            remote = FencedRemote(remote, permit)
        if rate_bytes_per_s is not None:
            remote = LimitedRemote(remote, Rate(rate_bytes_per_s))
        if encryption_key is None:
            await expect_not_encrypted(remote)
            return remote
        return await EncryptedRemote.attach(remote, encryption_key, read_only=read_only)
    except BaseException:
        await remote.close()
        raise


async def _open_bare(
    name: str, place: Place, identity: str | None, *, read_only: bool, mounter: Mounter | None
) -> Remote:
    match place:
        case LocalPlace(path, mount_point):
            return await open_remote(
                name, path, mount_point=mount_point, identity=identity, read_only=read_only
            )
        case NfsPlace() | SmbPlace():
            return await open_remote(
                name, place, identity=identity, read_only=read_only, mounter=mounter
            )
        case S3Place():
            remote = await S3Remote.attach(name, place, read_only=read_only)
            try:
                await remote.identify(identity)
            except BaseException:
                await remote.close()
                raise
            return remote
        case _:
            assert_never(place)


async def open_remote(
    name: str,
    place: str | SharePlace,
    *,
    mount_point: bool = False,
    identity: str | None = None,
    read_only: bool = False,
    threads: int = THREADS,
    patience: Patience = DEFAULT_PATIENCE,
    mounter: Mounter | None = None,
) -> FileRemote:
    """Open the remote at an absolute path or on a share. The caller closes it.

    mount_point: the path must be one. The rest: as of `open_place`.
    Raises Missing if there is no such directory (it is never made: the share may just not be
    mounted), WrongRemote if it is not the one that is meant, Unavailable if it is no directory,
    and other RemoteErrors.
    """
    standing = Standing(name, place, mount_point, mounter or Mounter())
    looking = Threads(name, 1, patience)
    try:
        filesystem = await looking.run("", _filesystem_of, standing)
    except Missing as error:
        message = f"there is no directory {standing.root}; is it mounted?"
        raise Missing(name, "", message, ENOENT) from error
    finally:
        await looking.close()
    remote = await FileRemote.attach(
        name, filesystem, threads=threads, read_only=read_only, patience=patience
    )
    try:
        standing.identity = await remote.identify(identity)
    except BaseException:
        await remote.close()
        raise
    return remote


def _filesystem_of(standing: Standing) -> PosixFilesystem:
    standing.establish()
    path = standing.root
    if not os.path.isabs(path):
        raise NotADirectoryError(ENOTDIR, f"{path} is not an absolute path")
    if not os.path.isdir(path):
        os.stat(path)
        raise NotADirectoryError(ENOTDIR, f"{path} is not a directory")
    return PosixFilesystem(path, standing.prove)
