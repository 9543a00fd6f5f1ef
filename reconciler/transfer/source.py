"""Where a stream comes from: the ports between a pool's export and the data plane.

Anything that can fill a buffer will do: a socket, a file, a list of pieces in a test. The data
plane asks for exact counts straight into its own buffers; it never sees a chunk it did not ask for.
A disk says itself how long it is; an archive ends where it ends.
"""

from typing import Protocol


class StreamError(Exception):
    """The stream is not what was asked for, or its sender says that it failed."""


class StreamTruncated(StreamError):
    """The stream ended before it was whole.

    wanted, got: bytes of the read that met the end.
    """

    def __init__(self, wanted: int, got: int) -> None:
        super().__init__(f"the stream ended early: {got} of the next {wanted} bytes came")
        self.wanted = wanted
        self.got = got


class Source(Protocol):
    """A stream that is read once, from its beginning. One task at a time calls it.

    Implementations may raise errors of their own craft besides those named here.
    """

    async def finish(self) -> None:
        """Ask the sender whether all was sent; call after the last byte that is wanted was read.

        Raises StreamError if there is more, or if the sender says that it failed."""

    async def abort(self) -> None:
        """Give up, from any state, more than once if need be. Never raises but for cancellation."""


class ByteSource(Source, Protocol):
    """A stream whose reader knows what comes next."""

    async def read_exactly(self, view: memoryview) -> None:
        """Fill the whole view. Raises StreamTruncated at the end of the stream.

        When cancelled, returns only once nothing will write into the view any more."""


class OpenSource(Source, Protocol):
    """A stream that is read until it ends."""

    async def read_up_to(self, view: memoryview) -> int:
        """Fill the view; return how many bytes came, fewer than fit only at the stream's end.

        Cancellation as for `ByteSource.read_exactly`."""
