"""VMs shut down for as long as a snapshot takes, and started again whatever happens.

```
mark on the VM → Async.VM.clean_shutdown → what is to be done → Async.VM.start → mark off
```

The mark comes first and goes last, so that a VM that we shut down is known to be one, whoever dies
in between: the next plan starts it. A guest that does not go down in time is never forced; it may
still go down later, so the mark stays, and the plan looks after it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from reconciler.clock import Clock
from reconciler.executor.pool_objects import find_vm
from reconciler.executor.refusal import Refused
from reconciler.ids import JobId, VmUuid
from reconciler.observed.marks import OFFLINE_KEY, read_offline, write_offline
from reconciler.observed.pool import ShutDown
from reconciler.plan.reasons import Reason
from reconciler.xapi.client import XapiClient
from reconciler.xapi.errors import OutcomeUnknown, XapiFailure
from reconciler.xapi.records import VmRecord
from reconciler.xapi.tasks import run_async

_SHUTDOWN_S = 600.0
_START_S = 1800.0
_GOING_DOWN = frozenset({"clean_shutdown", "shutdown", "hard_shutdown"})


@asynccontextmanager
async def shut_down(
    client: XapiClient, vm: VmRecord, job: JobId, clock: Clock
) -> AsyncIterator[None]:
    """Have a VM shut down during the body, and running again afterwards if it ran before.

    Also if the body fails or is cancelled. Cancelled once more while the VM is started, it leaves
    that to the plan.

    Raises Refused if it does not shut down within ten minutes, XapiError.
    """
    if vm.power_state == "Halted" and _mark_of(vm) is None:
        yield
        return
    if vm.power_state not in {"Halted", "Running"}:
        state = vm.power_state.lower()
        raise Refused(Reason.GUEST_STAYS_UP, f"VM {vm.name} is {state}, and cannot be shut down")
    try:
        if vm.power_state == "Running":
            await _mark(client, vm, ShutDown(job, clock.now()))
            await _shut_down(client, vm)
        yield
    finally:
        await start_again(client, VmUuid(vm.uuid))


async def start_again(client: XapiClient, uuid: VmUuid, *, forget: bool = False) -> None:
    """Start a VM that is marked as shut down by us, and take the mark off.

    Whatever does not carry the mark (a person took it off, or it is gone) is left alone. One that
    is up keeps it, because it may still be going down, unless it is to be forgotten. Raises
    Refused while it is going down, XapiError.
    """
    vm = await find_vm(client, uuid)
    mark = _mark_of(vm) if vm is not None else None
    if vm is None or mark is None:
        return
    if going := _GOING_DOWN.intersection(vm.operations):
        raise Refused(Reason.VM_BUSY, f"VM {vm.name} is busy: {', '.join(sorted(going))}")
    if vm.power_state == "Halted":
        try:
            await run_async(client, "VM.start", [vm.ref, False, False], _START_S)
        except XapiFailure as failure:
            if failure.code != "VM_BAD_POWER_STATE":  # somebody was faster
                raise
    elif not forget:
        return
    await client.call("VM.remove_from_other_config", vm.ref, OFFLINE_KEY)


def _mark_of(vm: VmRecord) -> ShutDown | None:
    return read_offline(vm.other_config, vm.uuid)


async def _mark(client: XapiClient, vm: VmRecord, shut_down: ShutDown) -> None:
    await client.call("VM.remove_from_other_config", vm.ref, OFFLINE_KEY)
    value = write_offline(shut_down, vm.uuid)
    await client.call("VM.add_to_other_config", vm.ref, OFFLINE_KEY, value)


async def _shut_down(client: XapiClient, vm: VmRecord) -> None:
    try:
        await run_async(client, "VM.clean_shutdown", [vm.ref], _SHUTDOWN_S)
    except (XapiFailure, OutcomeUnknown) as error:
        if await client.call("VM.get_power_state", vm.ref) == "Halted":
            return
        why = f"VM {vm.name} did not shut down for its snapshot, and is not forced to: {error}"
        raise Refused(Reason.GUEST_STAYS_UP, why) from error
