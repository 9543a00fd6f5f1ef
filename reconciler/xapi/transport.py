"""One HTTP request with a body, one answer within limits: the road of the control plane.

Knows httpx and which of its errors mean "surely not sent" and which "who knows". Never follows a
redirect, never uses a proxy from the environment, never asks for compressed answers (a small
one could unpack to a huge one).
"""

import asyncio
import ssl

import httpx

from reconciler.xapi.deadlines import Deadlines
from reconciler.xapi.endpoint import Endpoint
from reconciler.xapi.errors import BadAnswer, Unreachable, Untrusted, XapiError
from reconciler.xapi.trust import Trust

_CONNECTIONS_MAX = 32
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class AnswerLost(XapiError):
    """The request may have arrived; its answer did not. Never leaves the package."""


class Transport:
    """Connections to the hosts of one pool, kept alive between calls."""

    def __init__(self, trust: Trust, deadlines: Deadlines) -> None:
        self._trust = trust
        self._deadlines = deadlines
        self._context: ssl.SSLContext | None = None
        self._http: httpx.AsyncClient | None = None

    def context(self) -> ssl.SSLContext:
        """The TLS settings of every connection to this pool. Raises Untrusted."""
        if self._context is None:
            self._context = self._trust.context()
        return self._context

    async def post(
        self, endpoint: Endpoint, body: bytes, deadline_s: float, answer_max: int
    ) -> bytes:
        """POST to `/jsonrpc` and return the answer's body.

        Raises Unreachable or Untrusted if the request was surely not sent, AnswerLost if it may
        have been, BadAnswer if what came is no answer of XAPI's.
        """
        http = self._opened()
        connect_s = self._deadlines.connect_s
        timeout = httpx.Timeout(deadline_s, connect=connect_s, pool=deadline_s)
        try:
            async with (
                asyncio.timeout(deadline_s + connect_s),
                http.stream(
                    "POST", f"{endpoint.url}/jsonrpc", content=body, timeout=timeout
                ) as response,
            ):
                return await _read(response, answer_max)
        except _NOT_SENT as error:
            raise _refused(endpoint, error) from error
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise AnswerLost(f"{endpoint.url}: {_why(error)}") from error

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    def _opened(self) -> httpx.AsyncClient:
        if self._http is None:
            self._http = httpx.AsyncClient(
                verify=self.context(),
                trust_env=False,
                follow_redirects=False,
                headers={
                    "accept-encoding": "identity",
                    "content-type": "application/json",
                    "user-agent": "reconciler",
                },
                # short, so that a connection that the host has given up is not used once more
                limits=httpx.Limits(max_connections=_CONNECTIONS_MAX, keepalive_expiry=5),
            )
        return self._http


async def _read(response: httpx.Response, answer_max: int) -> bytes:
    if response.status_code != httpx.codes.OK:
        raise BadAnswer(f"HTTP {response.status_code} where an answer to a call should be")
    pieces = []
    received = 0
    async for piece in response.aiter_raw():
        received += len(piece)
        if received > answer_max:
            raise BadAnswer(f"the answer has more than {answer_max} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def _refused(endpoint: Endpoint, error: Exception) -> XapiError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Untrusted(f"{endpoint.url}: {cause.verify_message or cause}")
        cause = cause.__cause__ or cause.__context__
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Untrusted(f"{endpoint.url}: {error}")
    return Unreachable(f"{endpoint.url}: {_why(error)}")


def _why(error: Exception) -> str:
    match error:
        case TimeoutError() | httpx.ReadTimeout():
            return "no answer in time"
        case httpx.ConnectTimeout():
            return "no connection in time"
        case _:
            return str(error) or type(error).__name__
