"""What is known of calls by their names: how long each may take before it is given up, how much may
come, which may be repeated, and which change the pool.
"""

from dataclasses import dataclass

from reconciler.xapi.wire import Json

MIB = 1024 * 1024

_IDEMPOTENT_VERBS = ("get_", "set_", "remove_")
_IDEMPOTENT = frozenset({"event.from", "task.destroy", "task.cancel", "system.listMethods"})

_OURS = frozenset({"session", "task", "system"})
"""Classes whose calls touch what is ours alone, and ends with us."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds, all of them.

    connect_s: TCP and TLS. login_s: a refused login takes XAPI 5 s by design. read_s, write_s: a
    call that reads, a call that changes something (storage drivers may be asked). listing_s: all
    records of a class. poll_margin_s: beyond the time that a long poll asks for. booting_s: how
    long a login waits for hosts that are starting. close_s: for good manners at the end.

    first_byte_s: from a transfer's request to its first byte (disks are attached first, which can
    take minutes). stall_s: between two bytes. finish_s: from the last byte to the task's end
    (disks are detached first). reason_s: how long a broken transfer's task is asked for its reason.
    """

    connect_s: float = 10
    login_s: float = 30
    read_s: float = 60
    write_s: float = 300
    listing_s: float = 600
    poll_margin_s: float = 20
    booting_s: float = 30
    close_s: float = 5
    first_byte_s: float = 300
    stall_s: float = 120
    finish_s: float = 600
    reason_s: float = 5

    def of_call(self, method: str, params: tuple[Json, ...]) -> float:
        """Seconds that this call may take."""
        verb = method.rpartition(".")[2]
        if method == "event.from":
            timeout = params[-1] if params else 0.0
            return self.poll_margin_s + (timeout if isinstance(timeout, int | float) else 0.0)
        if verb == "get_all_records":
            return self.listing_s
        return self.read_s if verb.startswith("get_") else self.write_s


def answer_bytes_max(method: str) -> int:
    """Bytes that the answer to this call may have; beyond it the answer is refused."""
    if method == "event.from" or method.endswith(".get_all_records"):
        return 512 * MIB  # some 30,000 VMs
    return 32 * MIB


def is_idempotent(method: str) -> bool:
    """Whether carrying out the call twice is the same as once, so that it may be repeated."""
    return method in _IDEMPOTENT or (
        not method.startswith("Async.") and method.rpartition(".")[2].startswith(_IDEMPOTENT_VERBS)
    )


def changes_the_pool(method: str) -> bool:
    """Whether carrying out the call changes anything that outlives our session and its tasks."""
    object_class, _, verb = method.removeprefix("Async.").rpartition(".")
    return not (
        verb.startswith("get_") or object_class in _OURS or method in ("event.from", "event.next")
    )
