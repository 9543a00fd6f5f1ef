"""What can be wrong with files, besides what their remote and their format say.

TransferError
├─ ChainBroken     a file of a chain is damaged, or is not the one its child was made over
└─ MergeRefused    two files that cannot be merged: not child and parent, or nothing we may touch

A stream that goes wrong is a StreamError (source.py).
"""


class TransferError(Exception):
    """key: the file at fault."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key
        self.message = message


class ChainBroken(TransferError):
    pass


class MergeRefused(TransferError):
    pass
