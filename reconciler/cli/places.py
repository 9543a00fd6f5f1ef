"""Places of remotes in one word, and in one line. Pure."""

from typing import assert_never

from reconciler.desired.state import LocalPlace, NfsPlace, Place, S3Place, SmbPlace


def kind_of(place: Place) -> str:
    """Name the kind as manifests do: local, nfs, smb, s3."""
    match place:
        case LocalPlace():
            return "local"
        case NfsPlace():
            return "nfs"
        case SmbPlace():
            return "smb"
        case S3Place():
            return "s3"
        case _:
            assert_never(place)


def address_of(place: Place) -> str:
    """Say where it is; of a share that the system mounts, where it is mounted as well."""
    match place:
        case LocalPlace(path=path):
            return path
        case NfsPlace(server=server, export=export, path=path):
            return _mounted(f"{server}:{export}", path)
        case SmbPlace(server=server, share=share, directory=directory, path=path):
            return _mounted("/".join(filter(None, (f"//{server}", share, directory))), path)
        case S3Place(endpoint=endpoint, bucket=bucket, prefix=prefix):
            return "/".join(filter(None, (endpoint, bucket, prefix)))
        case _:
            assert_never(place)


def _mounted(source: str, path: str | None) -> str:
    return source if path is None else f"{source} on {path}"
