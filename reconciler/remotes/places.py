"""What there is to know of a place before it is opened; `open.py` makes remotes of them.

Secrets are given as calls that fetch them at the moment of their use: what is kept, compared and
shown here holds none.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from reconciler.remotes.shares import NfsPlace, SmbPlace


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """A directory of this machine. path: absolute. mount_point: it must be one."""

    path: str
    mount_point: bool = False


@dataclass(frozen=True, slots=True)
class S3Place:
    """A prefix of a bucket of any S3-compatible server.

    endpoint: https://server[:port]; "" is Amazon's for the region. prefix: "" is the whole bucket.
    path_style: the bucket is named in the path of requests, else in the name of the server.
    plain_http: allow http:// to servers other than this machine. ca: certificates trusted besides
    the system's, PEM.
    """

    bucket: str
    access_key: str
    secret_key: Callable[[], str] = field(repr=False)
    endpoint: str = ""
    prefix: str = ""
    region: str = "us-east-1"
    path_style: bool = True
    plain_http: bool = False
    ca: bytes | None = None


Place = LocalPlace | NfsPlace | SmbPlace | S3Place
