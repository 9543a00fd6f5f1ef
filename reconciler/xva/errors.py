"""What can be wrong with an archive.

XvaError
├─ XvaInvalid     it is not what an archive is: a name, a size, an order, what follows the end
├─ XvaCorrupt     a chunk is not what its checksum says, or the compressed stream is damaged
└─ XvaTruncated   it ended before its end
"""


class XvaError(Exception):
    """place: the member it was found at, or "" for the stream as a whole."""

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(f"{place}: {message}" if place else message)
        self.place = place


class XvaInvalid(XvaError):
    pass


class XvaCorrupt(XvaError):
    pass


class XvaTruncated(XvaError):
    pass
