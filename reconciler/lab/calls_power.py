"""The messages of VM that start, stop, pause and move machines."""

from reconciler.lab import power, volumes
from reconciler.lab.methods import Call, Registry
from reconciler.lab.operations import refresh_allowed, vm_operation
from reconciler.lab.values import NULL, Value

METHODS = Registry()
method = METHODS.method


@method("VM.start(vm:ref:VM, start_paused:bool, force:bool)", asynchronous=True)
def start(call: Call, ref: str, paused: bool, force: bool) -> Value:
    with vm_operation(call.pool, ref, "start", call.task) as vm:
        power.start(call.pool, vm, power.place(call.pool, vm), paused=paused)
    return ""


@method("VM.start_on(vm:ref:VM, host:ref:host, start_paused:bool, force:bool)", asynchronous=True)
def start_on(call: Call, ref: str, host: str, paused: bool, force: bool) -> Value:
    with vm_operation(call.pool, ref, "start_on", call.task) as vm:
        power.start(call.pool, vm, host, paused=paused)
    return ""


@method("VM.resume(vm:ref:VM, start_paused:bool, force:bool)", asynchronous=True)
def resume(call: Call, ref: str, paused: bool, force: bool) -> Value:
    with vm_operation(call.pool, ref, "resume", call.task) as vm:
        memory = call.pool.database.find("VDI", vm.text("suspend_VDI"))
        power.start(call.pool, vm, power.place(call.pool, vm), paused=paused)
        call.pool.database.set(vm, suspend_VDI=NULL)
        if memory is not None:
            volumes.destroy(call.pool, memory)
    return ""


@method("VM.suspend(vm:ref:VM)", asynchronous=True)
def suspend(call: Call, ref: str) -> Value:
    with vm_operation(call.pool, ref, "suspend", call.task) as vm:
        power.suspend(call.pool, vm, power.memory_image(call.pool, vm))
    return ""


def _change_state(call: Call, ref: str, operation: str, state: str) -> None:
    with vm_operation(call.pool, ref, operation, call.task) as vm:
        call.pool.database.set(vm, power_state=state)
        if state == "Running":
            power.report_later(call.pool, vm)
    refresh_allowed(call.pool, ref)


@method("VM.pause(vm:ref:VM)", asynchronous=True)
def pause(call: Call, ref: str) -> Value:
    _change_state(call, ref, "pause", "Paused")
    return ""


@method("VM.unpause(vm:ref:VM)", asynchronous=True)
def unpause(call: Call, ref: str) -> Value:
    _change_state(call, ref, "unpause", "Running")
    return ""


def _halt(call: Call, ref: str, operation: str) -> None:
    with vm_operation(call.pool, ref, operation, call.task) as vm:
        power.halt(call.pool, vm)


@method("VM.clean_shutdown(vm:ref:VM)", asynchronous=True)
def clean_shutdown(call: Call, ref: str) -> Value:
    _halt(call, ref, "clean_shutdown")
    return ""


@method("VM.shutdown(vm:ref:VM)", asynchronous=True)
def shutdown(call: Call, ref: str) -> Value:
    """Cleanly, and hard if the machine does not run."""
    state = call.pool.database.row("VM", ref).text("power_state")
    _halt(call, ref, "clean_shutdown" if state == "Running" else "hard_shutdown")
    return ""


@method("VM.hard_shutdown(vm:ref:VM)", asynchronous=True)
def hard_shutdown(call: Call, ref: str) -> Value:
    _halt(call, ref, "hard_shutdown")
    return ""


def _reboot(call: Call, ref: str, operation: str) -> None:
    with vm_operation(call.pool, ref, operation, call.task) as vm:
        host = vm.text("resident_on")
        power.halt(call.pool, vm)
        power.start(call.pool, vm, host, paused=False)


@method("VM.clean_reboot(vm:ref:VM)", asynchronous=True)
def clean_reboot(call: Call, ref: str) -> Value:
    _reboot(call, ref, "clean_reboot")
    return ""


@method("VM.hard_reboot(vm:ref:VM)", asynchronous=True)
def hard_reboot(call: Call, ref: str) -> Value:
    _reboot(call, ref, "hard_reboot")
    return ""


@method("VM.pool_migrate(vm:ref:VM, host:ref:host, options:map(string,string))", asynchronous=True)
def pool_migrate(call: Call, ref: str, host: str, options: dict[str, str]) -> Value:
    with vm_operation(call.pool, ref, "pool_migrate", call.task) as vm:
        call.pool.database.set(vm, resident_on=host)
    return ""
