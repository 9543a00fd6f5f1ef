"""One HTTP client to the API server: used until it is given up, and closed with its last request.

A request that does not end by itself (its deadline, a caller that was cancelled) can leave the
client with a connection that nobody uses and nobody gets; after a few of those, every further one
would wait for ever. So a line on which that happened is given up, like one whose login is refused:
it takes no new requests, and those that are under way go on.
"""

import asyncio
from typing import Any

import httpx


class Line:
    """Not given up until somebody says so, or a request on it did not end by itself."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.is_given_up = False
        self._client = client
        self._users = 0

    async def request(
        self, deadline_s: float, method: str, path: str, **more: Any
    ) -> httpx.Response:
        """Send a request and read its answer. Raises TimeoutError, httpx.HTTPError, OSError.

        more: as of httpx.
        """
        self._users += 1
        try:
            async with asyncio.timeout(deadline_s):
                return await self._client.request(method, path, **more)
        except (TimeoutError, asyncio.CancelledError):
            self.is_given_up = True
            raise
        finally:
            self._users -= 1
            await self._close_after_the_last()

    async def give_up(self) -> None:
        self.is_given_up = True
        await self._close_after_the_last()

    async def _close_after_the_last(self) -> None:
        if self.is_given_up and not self._users:
            await self._client.aclose()
