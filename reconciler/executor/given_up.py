"""What a VM says about runs that were given up: noted as their snapshots go, until there are newer.

Without the note nothing would say that a slot was dealt with, and the next plan would begin anew
what somebody had just cancelled, or what had just taken too long.
"""

from collections.abc import Sequence

from reconciler.ids import JobId
from reconciler.observed.marks import GIVEN_UP_KEY, read_given_up, write_given_up
from reconciler.observed.pool import GivenUp
from reconciler.xapi.client import XapiClient
from reconciler.xapi.records import VmRecord


async def note(client: XapiClient, vm: VmRecord, given_up: GivenUp) -> None:
    """Say it on the VM, instead of what it said of the job before. Raises XapiError."""
    await _put(client, vm, [*_of_others(vm, given_up.job), given_up])


async def forget(client: XapiClient, vm: VmRecord, job: JobId) -> None:
    """Take away what a VM says of a job: a newer snapshot says more. Raises XapiError."""
    said = read_given_up(vm.other_config, vm.uuid)
    if any(each.job == job for each in said):
        await _put(client, vm, _of_others(vm, job))


def _of_others(vm: VmRecord, job: JobId) -> list[GivenUp]:
    return [each for each in read_given_up(vm.other_config, vm.uuid) if each.job != job]


async def _put(client: XapiClient, vm: VmRecord, given_up: Sequence[GivenUp]) -> None:
    await client.call("VM.remove_from_other_config", vm.ref, GIVEN_UP_KEY)
    if given_up:
        value = write_given_up(given_up, vm.uuid)
        await client.call("VM.add_to_other_config", vm.ref, GIVEN_UP_KEY, value)
