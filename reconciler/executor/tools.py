"""What a step is handed: opened pools and remotes, limits, the clock, and its gauge."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from reconciler.clock import Clock
from reconciler.executor.readings import Readings
from reconciler.executor.transfers import Gauge
from reconciler.ids import PoolName, RemoteName
from reconciler.remotes.remote import Remote
from reconciler.transfer.block_codec import BlockWorkers
from reconciler.xapi.client import XapiClient


def _nobody_asks(_what: str) -> None:
    return


@dataclass(frozen=True, slots=True)
class Tools:
    """One action's tools.

    pool, remote: give the opened thing, or raise the craft's error. export_slot: entered once per
    disk, so that a pool never exports more disks at once than its limit, whatever was admitted.
    readings: of the party that the action is a part of; None where nothing is sent from a pool.
    block_workers: pack and unpack for all actions together.
    made: told what a restore has made (the uuid of a VM), for whoever asked for it.
    """

    clock: Clock
    gauge: Gauge
    pool: Callable[[PoolName], Awaitable[XapiClient]]
    remote: Callable[[RemoteName], Awaitable[Remote]]
    export_slot: Callable[[PoolName], AbstractAsyncContextManager[object]]
    readings: Readings | None = None
    made: Callable[[str], None] = _nobody_asks
    block_workers: BlockWorkers = field(default_factory=BlockWorkers)
