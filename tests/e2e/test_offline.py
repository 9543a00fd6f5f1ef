"""A VM that is shut down for its snapshot runs again in the end, whoever dies in between."""

import time
from pathlib import Path

from sites import MIB, LabProcess, Operator, manifests, nightly

NIGHTS = 5
DEADLINE_S = 120.0
SLOW = "call_latency_s=0.1"  # so that it stays halted long enough to be met so


def power_of(lab: LabProcess) -> str:
    with lab.xenapi() as xenapi:
        (vm,) = xenapi.VM.get_by_name_label("web")
        return str(xenapi.VM.get_power_state(vm))


def test_one_that_was_shut_down_by_a_killed_operator_is_started_by_the_next(tmp_path: Path) -> None:
    lab = LabProcess(tmp_path / "lab", (SLOW,))
    lab.start()
    try:
        image = tmp_path / "disk.raw"
        image.write_bytes(b"reconciler" * (MIB // 10) + bytes(4 * MIB - MIB // 10 * 10))
        lab.import_vm("web", image, tags=["prod"])
        with lab.xenapi() as xenapi:
            (vm,) = xenapi.VM.get_by_name_label("web")
            xenapi.VM.start(vm, False, False)
        job = nightly(last=2) + "  settings: {consistency: Offline}\n"
        directory = manifests(tmp_path / "manifests", lab.facts, tmp_path / "remote", job)
        operator = Operator(directory, tmp_path / "operator.log")
        for night in range(NIGHTS):  # until it is met halted: the moment may slip by
            instant = f"2026-01-{5 + night:02}T02:00:05+00:00"
            killed_while = kill_when_halted(lab, operator, instant)
            (said,) = operator.run(instant)
            assert power_of(lab) == "Running"
            assert said["points"][-1]["stamp"].startswith(f"202601{5 + night:02}"), said
            if killed_while == "Halted":
                break
        assert killed_while == "Halted", "no operator was killed while the VM was down"
    finally:
        lab.stop()


def kill_when_halted(lab: LabProcess, operator: Operator, instant: str) -> str:
    """Kill an operator as soon as the VM is down; return how the VM stands then."""
    process = operator.start(instant)
    deadline = time.monotonic() + DEADLINE_S
    while power_of(lab) == "Running" and process.poll() is None:
        assert time.monotonic() < deadline, "it was never shut down"
    process.kill()
    process.communicate()
    return power_of(lab)
