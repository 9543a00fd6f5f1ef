"""An object on its way into a store, in parts: bounded memory, and seen by nobody until its end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import obstore
from obstore.store import S3Store

from reconciler.remotes.errors import TooLarge, Unavailable
from reconciler.remotes.filesystem import Piece
from reconciler.remotes.s3_store import Asking

PART_BYTES = 8 * 1024 * 1024
"""The least; parts have to be of one size, 5 MiB or more."""

_PARTS_MAX = 10_000
_PARTS_IN_FLIGHT = 3
_UNKNOWN_BYTES = 200 * 1024**3
_WRITE_DEADLINE_S = 600.0
_ABORT_DEADLINE_S = 5.0


def part_bytes(size_expected: int) -> int:
    """How large parts must be for an object of about this size (0: not known), with some to spare.

    Memory holds up to four of them: 32 MiB up to 74 GiB.
    """
    size = (size_expected or _UNKNOWN_BYTES) * 21 // 20
    needed = -(-size // _PARTS_MAX)
    return max(PART_BYTES, -(-needed // 2**20) * 2**20)


class S3Upload:
    """remote, key: named in errors. part_bytes: of each part but the last."""

    def __init__(
        self, remote: str, key: str, store: S3Store, asking: Asking, part_bytes: int
    ) -> None:
        self.size_bytes = 0
        self._remote = remote
        self._key = key
        self._asking = asking
        self._size_max = part_bytes * _PARTS_MAX
        self._whole = True
        self._writer = obstore.open_writer_async(
            store, key, buffer_size=part_bytes, max_concurrency=_PARTS_IN_FLIGHT
        )

    async def write(self, piece: Piece) -> None:
        # The library keeps what it is given until the part is sent, the caller does not.
        content = bytes(piece)
        self._conclude()
        self._whole = False
        if self.size_bytes + len(content) > self._size_max:
            raise TooLarge(
                self._remote,
                self._key,
                f"more than {self._size_max} bytes came, far more than was expected",
            )
        await self._asking.ask(self._key, lambda: self._writer.write(content), _WRITE_DEADLINE_S)
        self.size_bytes += len(content)
        self._whole = True

    @contextlib.asynccontextmanager
    async def underway(self) -> AsyncIterator[None]:
        """Complete the object on leaving cleanly, else take back what was sent."""
        await self._writer.__aenter__()
        try:
            yield
            self._conclude()
        except BaseException as error:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_ABORT_DEADLINE_S):
                    await self._writer.__aexit__(type(error), error, error.__traceback__)
            raise
        await self._asking.ask(self._key, self._writer.close, _WRITE_DEADLINE_S)

    def _conclude(self) -> None:
        """Raises Unavailable if a piece is missing: its error may have been caught on the way."""
        if not self._whole:
            raise Unavailable(self._remote, self._key, "a piece of it could not be written")
