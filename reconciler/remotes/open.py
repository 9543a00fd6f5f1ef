"""Open a remote by what is known of its place: the right kind, in the right skins."""

import os
from errno import ENOENT, ENOTDIR
from typing import assert_never

from reconciler.remotes.errors import Missing
from reconciler.remotes.file import THREADS, FileRemote
from reconciler.remotes.places import LocalPlace, Place, S3Place
from reconciler.remotes.posix import PosixFilesystem
from reconciler.remotes.remote import Remote
from reconciler.remotes.s3 import S3Remote
from reconciler.remotes.threads import Threads


async def open_place(name: str, place: Place, *, read_only: bool = False) -> Remote:
    """Open a remote of any kind. The caller closes it (`await remote.close()`).

    read_only: nothing is written, not even to find out what the place can do.
    Raises RemoteError.
    """
    match place:
        case LocalPlace(path):
            return await open_remote(name, path, read_only=read_only)
        case S3Place():
            return await S3Remote.attach(name, place, read_only=read_only)
        case _:
            assert_never(place)


async def open_remote(
    name: str, path: str, *, read_only: bool = False, threads: int = THREADS
) -> FileRemote:
    """Open the remote at an absolute path. The caller closes it (`await remote.close()`).

    read_only: nothing is written, not even to find out what the file system can do.
    Raises Missing if there is no such directory (it is never made: the share may just not be
    mounted), Unavailable if it is no directory, and other RemoteErrors.
    """
    looking = Threads(name, 1)
    try:
        filesystem = await looking.run("", _filesystem_at, path)
    except Missing as error:
        raise Missing(name, "", f"there is no directory {path}; is it mounted?", ENOENT) from error
    finally:
        await looking.close()
    return await FileRemote.attach(name, filesystem, threads=threads, read_only=read_only)


def _filesystem_at(path: str) -> PosixFilesystem:
    if not os.path.isabs(path):
        raise NotADirectoryError(ENOTDIR, f"{path} is not an absolute path")
    if not os.path.isdir(path):
        os.stat(path)
        raise NotADirectoryError(ENOTDIR, f"{path} is not a directory")
    return PosixFilesystem(path)
