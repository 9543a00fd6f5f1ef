"""What an S3 server or the way to it said, in the words of this package.

The library gives text: a status line, then the server's answer as it came, with key ids, signed
strings and host names in it. Only the status and the error code are read out of that; nothing else
is passed on, and the original is never chained.
"""

import re

from obstore.exceptions import AlreadyExistsError

from reconciler.remotes.errors import (
    Denied,
    Exists,
    Missing,
    NoSpace,
    RemoteError,
    TooLarge,
    Unavailable,
)

_TEXT_MAX = 16_384
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9_.-]{1,64})</Code>")

# Codes first: Ceph says 403 for a full quota, and 404 is also said of buckets.
_CODES: dict[str, tuple[type[RemoteError], str]] = {
    "NoSuchBucket": (Unavailable, "there is no such bucket"),
    "QuotaExceeded": (NoSpace, "the quota is used up"),
    "XMinioStorageFull": (NoSpace, "the storage is full"),
    "InsufficientStorage": (NoSpace, "the storage is full"),
    "EntityTooLarge": (TooLarge, "the server takes no objects of this size"),
    "InvalidAccessKeyId": (Denied, "the server does not know the access key"),
    "SignatureDoesNotMatch": (Denied, "the secret key is wrong"),
    "RequestTimeTooSkewed": (Denied, "the server's clock and ours differ too much"),
    "AccessDenied": (Denied, "access denied"),
    "SlowDown": (Unavailable, "the server asks to be slower"),
}
_STATUSES: dict[int, tuple[type[RemoteError], str]] = {
    401: (Denied, "access denied"),
    403: (Denied, "access denied"),
    404: (Missing, "no such object"),
    409: (Exists, "the name is taken"),
    412: (Exists, "the name is taken"),
    413: (TooLarge, "the server takes no objects of this size"),
    507: (NoSpace, "the storage is full"),
}
# What the library's text says of connections, and what that means.
_CONNECTIONS = (
    (
        ("UnknownIssuer", "invalid peer certificate", "certificate"),
        "its certificate is not trusted",
    ),
    (("ConnectionRefused", "Connection refused"), "the connection was refused"),
    (("dns error", "failed to lookup"), "its name is not known"),
    (("TimedOut", "timed out", "TimeoutError"), "no answer in time"),
    (("ConnectionReset", "Connection reset", "IncompleteMessage"), "the connection broke"),
)


def from_s3_error(remote: str, key: str, error: BaseException) -> RemoteError:
    """Whatever is not known is Unavailable."""
    text = str(error)[:_TEXT_MAX]
    status = _status_in(text)
    found = _CODE.search(text)
    code = found[1] if found else ""
    kind: type[RemoteError]
    answer = f"{status} {code}".rstrip()
    if isinstance(error, AlreadyExistsError):
        kind, message = Exists, "the name is taken"
    elif code in _CODES or status in _STATUSES:
        kind, message = _CODES.get(code) or _STATUSES[status]
        message = f"{message} ({answer})"
    elif status:
        kind, message = Unavailable, f"the server answered {answer}"
    elif isinstance(error, FileNotFoundError):
        kind, message = Missing, "no such object"
    else:
        kind, message = Unavailable, _of_connection(text)
    return kind(remote, key, message)


def _of_connection(text: str) -> str:
    for signs, meaning in _CONNECTIONS:
        if any(sign in text for sign in signs):
            return f"the server cannot be reached: {meaning}"
    return "the request failed on its way"


def _status_in(text: str) -> int:
    """0: it came to none."""
    found = _STATUS.search(text)
    return int(found[1]) if found else 0
