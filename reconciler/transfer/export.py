"""One disk from a pool's export stream into a new file on a remote: a fan-out to one sink."""

from collections.abc import Callable

from reconciler.remotes.remote import Remote
from reconciler.transfer.fanout import fan_out
from reconciler.transfer.sink import Identity, Received
from reconciler.transfer.source import ByteSource
from reconciler.transfer.vhd_sink import VhdFileSink


async def receive_vhd(
    source: ByteSource,
    remote: Remote,
    temporary: str,
    identity: Identity,
    *,
    expected_bytes: int | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
    on_expected: Callable[[int], None] = lambda _: None,
) -> Received:
    """Receive a VHD stream into a new file under a temporary key: synced, and checked by reading.

    expected_bytes: length of the stream, if its sender said so. on_progress: is told how many more
    bytes of the stream came, on_expected once how many will. A file that an earlier try left under
    the key is removed. After an error the file is removed if that is still possible; after a
    cancellation it stays.
    Raises StreamError, VhdError, RemoteError, and what the source raises.
    """
    outcomes = await fan_out(
        source,
        {remote.name: VhdFileSink(remote, temporary, identity)},
        expected_bytes=expected_bytes,
        on_progress=on_progress,
        on_expected=on_expected,
    )
    outcome = outcomes[remote.name]
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
