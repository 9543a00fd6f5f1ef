"""The connection to an S3 bucket: address, trust, signing, patience. Knows no keys of objects.

Everything that the library would else take from the environment is said here: a variable set for
another program must not send a backup elsewhere.
"""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar
from urllib.parse import urlsplit

import obstore.store
from obstore.exceptions import BaseError
from obstore.store import S3Store

from reconciler.clock import Clock
from reconciler.remotes.errors import Denied, Exists, RemoteError, Unavailable
from reconciler.remotes.places import S3Place
from reconciler.remotes.s3_errors import from_s3_error

T = TypeVar("T")

CALL_DEADLINE_S = 60.0
"""For anything small, retries included."""

_CONNECT_S = 5
# A part of an upload has to be through in that time, and a download must not pause for so long.
_SILENCE_S = 120
# An outage of a quarter of a minute is ridden out; what takes longer is for the caller to decide.
_RETRY_S = 25
_RETRIES_MAX = 16
# How long a secret is used before it is fetched anew: it may have been changed.
_SECRET_AGE = timedelta(minutes=30)


def open_store(name: str, place: S3Place, clock: Clock) -> S3Store:
    """Make the store; nothing is sent yet. Raises RemoteError for an address that is not allowed.

    name: of the remote, for errors.
    """
    endpoint = _endpoint_of(name, place)

    def credential() -> "obstore.store.S3Credential":
        return {
            "access_key_id": place.access_key,
            "secret_access_key": place.secret_key(),
            "token": None,
            "expires_at": clock.now() + _SECRET_AGE,
        }

    client: obstore.store.ClientConfig = {
        "allow_http": endpoint.startswith("http://"),
        "allow_invalid_certificates": False,
        "connect_timeout": timedelta(seconds=_CONNECT_S),
        "read_timeout": timedelta(seconds=_SILENCE_S),
        # The library's limit for a whole answer, however long it is; ours are for each step of it.
        "timeout": timedelta(days=1),
    }
    if place.ca is not None:
        client["root_certificate"] = place.ca
    retry: obstore.store.RetryConfig = {
        "max_retries": _RETRIES_MAX,
        "retry_timeout": timedelta(seconds=_RETRY_S),
        "backoff": {
            "init_backoff": timedelta(milliseconds=200),
            "max_backoff": timedelta(seconds=2),
            "base": 2,
        },
    }
    return S3Store(
        place.bucket,
        prefix=place.prefix.strip("/") or None,
        config={
            "endpoint": endpoint,
            "aws_endpoint_url_s3": endpoint,
            "region": place.region,
            "virtual_hosted_style_request": not place.path_style,
            "skip_signature": False,
            "unsigned_payload": False,  # so that the server checks every byte
            "conditional_put": "etag",
            "disable_bulk_delete": True,  # one object at a time; not every server has the other
            "s3_express": False,
            "request_payer": False,
        },
        client_options=client,
        retry_config=retry,
        credential_provider=credential,
    )


def _endpoint_of(name: str, place: S3Place) -> str:
    endpoint = place.endpoint.rstrip("/") or f"https://s3.{place.region}.amazonaws.com"
    address = urlsplit(endpoint)
    if address.scheme not in ("http", "https") or not address.hostname or address.username:
        raise RemoteError(name, "", "the endpoint is not of the form https://server[:port]")
    if address.scheme == "http" and not (place.plain_http or _is_here(address.hostname)):
        raise Denied(
            name,
            "",
            f"plain http to {address.hostname} would show everything to whoever listens; "
            "use https, or allow it for this remote",
        )
    if place.path_style:
        return endpoint
    return f"{address.scheme}://{place.bucket}.{address.netloc}{address.path}"


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Asking:
    """Calls of one store with deadlines, failing in the words of this package."""

    def __init__(self, remote: str) -> None:
        self._remote = remote

    async def ask(
        self,
        key: str,
        call: Callable[[], Awaitable[T]],
        deadline_s: float = CALL_DEADLINE_S,
        *,
        conditional: bool = False,
    ) -> T:
        """Cancelling takes effect at once: the library drops the request.

        Whether the server still carries it out, nobody can know. conditional: raises Exists if
        the server says that the condition was not met."""
        try:
            async with asyncio.timeout(deadline_s):
                return await call()
        except TimeoutError:
            raise Unavailable(self._remote, key, f"no answer within {deadline_s:.0f} s") from None
        except (BaseError, OSError, ValueError) as error:
            told = from_s3_error(self._remote, key, error)
            if isinstance(told, Exists) and not conditional:
                told = Unavailable(self._remote, key, "somebody else is changing it")
            raise told from None
