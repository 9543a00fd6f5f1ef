"""The lab's knobs: how slow, how patient and how tidy the simulated pool is."""

from dataclasses import dataclass

MIB = 1 << 20

# What a XenServer gives to exports: how many at once, and what they get together.
EXPORT_CURVE = ((1, 30 * MIB), (2, 40 * MIB), (4, 60 * MIB), (8, 80 * MIB), (12, 96 * MIB))


@dataclass(slots=True)
class Settings:
    """All spans in seconds. The defaults are quick; a real pool's figures stand beside them."""

    login_failure_delay_s: float = 1.0  # real: 5
    call_latency_s: float = 0.0
    event_batch_s: float = 0.05  # how long event.from gathers more before it answers
    coalesce_delay_s: float = 1.0  # real: 300, and only after a VDI was destroyed
    coalesce: bool = True
    leaf_blocks_max: int = 10  # more are not merged while the guest waits (SM: 20 MiB)
    detach_delay_s: float = 0.0  # real: seconds on LVM, between last byte and task success
    guest_boot_s: float = 0.1  # until the guest's tools report
    wait_s: float = 7200.0  # how long a call waits for another operation to end
    export_wait_s: float = 120.0
    retry_s: float = 0.05  # how often it looks (real: 1 to 20)
    stall_s: float = 300.0  # an idle transfer is cut
    session_idle_s: float = 24 * 3600.0
    sessions_per_originator: int = 500
    task_keep_s: float = 65 * 60.0  # after it finished
    task_pending_s: float = 24 * 3600.0  # without progress
    tasks_max: int = 200
    housekeeping_s: float = 30.0
    heartbeat: bool = False  # an event of the pool and its hosts at each round (real: yes)
    chain_depth_max: int = 30
    bandwidth_bytes_per_s: int = 0  # of one export; 0 is unlimited
    curve_factor: float = 0.0  # exports share `curve` times this; 0: as fast as it goes
    curve: tuple[tuple[int, int], ...] = EXPORT_CURVE
