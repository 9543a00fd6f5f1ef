"""Where a reading of a disk goes: the ports between the data plane and each kind of destination.

A sink is called in order, one call at a time, by whoever reads the disk (fanout.py); what it is
given is the same for every sink of a reading and belongs to none of them. It never knows of the
other sinks, nor where the disk comes from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class SlowSink(Exception):
    """A sink held up the others for longer than it may, and was left behind."""

    def __init__(self, name: str, held_up_s: float, detach_s: float) -> None:
        super().__init__(
            f"{name} alone held up the others for {held_up_s:.1f} s in all; it may for "
            f"{detach_s:.1f} s, and was left behind"
        )
        self.name = name
        self.held_up_s = held_up_s


class StalledSink(Exception):
    """A sink that others wait for took nothing for too long, and was left behind."""

    def __init__(self, name: str, stall_s: float) -> None:
        super().__init__(f"{name} took nothing for {stall_s:g} s, and was left behind")
        self.name = name


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the new disk is, whatever the stream says of itself (a pool makes up a uuid each time).

    uuid, parent_uuid: canonical text. parent_name: the parent's file name in the same directory;
    None together with parent_uuid for a full. timestamp: seconds since 1970.
    """

    uuid: str
    parent_uuid: str | None = None
    parent_name: str | None = None
    timestamp: int = 0

    @property
    def parent(self) -> tuple[str, str] | None:
        if self.parent_uuid is None or self.parent_name is None:
            return None
        return self.parent_uuid, self.parent_name


@dataclass(frozen=True, slots=True)
class DiskHead:
    """What comes: known once footer, header and table of the stream were read.

    virtual_bytes: size of the disk. differencing: the blocks stand on a base; False also if a
    delta was asked for and the sender chose to send a full. blocks: indices of the blocks that
    come, in the order in which they come.
    """

    virtual_bytes: int
    differencing: bool
    blocks: Sequence[int]


@dataclass(frozen=True, slots=True)
class Received:
    """What came. differencing: it needs its parent; False also if a delta was asked for and the
    sender chose to send a full: then it is a full, without parent.

    file_bytes: what it takes at the destination. data_bytes: of the blocks that were kept.
    virtual_bytes: size of the disk. buffers_peak: most buffers that waited for this sink.
    """

    file_bytes: int
    data_bytes: int
    blocks: int
    virtual_bytes: int
    differencing: bool
    buffers_peak: int = 0


class DiskSink(Protocol):
    """Takes a disk, block by block. Raises what its craft raises; then it is only aborted."""

    async def begin(self, head: DiskHead) -> None: ...

    async def block(self, index: int, record: memoryview, is_zero: bool) -> None:
        """Take one block of `head.blocks`; each of them comes, in that order.

        record: bitmap (512 bytes, all ones) and 2 MiB of data, valid until this returns; it is
        only read. is_zero: the data is all zeros. When cancelled, returns only once nothing
        will read the record any more."""

    async def end(self) -> Received:
        """Make all of it durable, under a temporary name if the place has names."""

    async def abort(self) -> None:
        """Give up, instead of `end` or after it failed, from any state, even before `begin`.

        Never raises but for cancellation."""


class ByteSink(Protocol):
    """Takes a stream of plain bytes. Raises what its craft raises; then it is only aborted."""

    async def write(self, piece: memoryview) -> None:
        """Take the next bytes. As for `DiskSink.block`, they are valid until this returns."""

    async def end(self) -> None:
        """The stream was whole, says its sender: make all of it durable."""

    async def abort(self) -> None:
        """As `DiskSink.abort`."""
