"""Read a restore point whole, as a restore would, and note on the remote what that showed.

Needs no lock to read, as a restore does not. What seems damaged is read a second time before it is
noted, where others might have been at it: with their lock. From then on it counts as broken, so
that the next backup begins a new chain; nothing is ever removed for it.
"""

from collections.abc import Awaitable, Callable, Sequence

import structlog

from reconciler.catalog.chains import chain_keys_of
from reconciler.catalog.layout import key_of
from reconciler.catalog.lock import vm_lock
from reconciler.catalog.metadata import point_of
from reconciler.catalog.proofs import note_damage, note_proof
from reconciler.catalog.read import read_metadata
from reconciler.catalog.read_disks import read_disk
from reconciler.executor.refusal import Refused
from reconciler.executor.tools import Tools
from reconciler.observed.chain import PointDisk, RestorePoint
from reconciler.observed.proof import Damage, Proof, ProofLevel
from reconciler.plan.actions import Verify
from reconciler.plan.reasons import Reason
from reconciler.remotes.remote import Remote
from reconciler.transfer.proof import Flaw, flaw_of_archive, flaw_of_disk

log = structlog.get_logger(__name__)


async def run(action: Verify, tools: Tools) -> None:
    """Verify the point. Raises Refused (ProofFailed) if it is not what was written; RemoteError,
    CatalogError if it could not be read, or the note not be written.
    """
    remote = await tools.remote(action.remote)
    metadata = await read_metadata(remote, action.vm, action.stamp)
    point = point_of(metadata, action.vm, action.stamp)
    if point.archive:
        sound = await _archive(action, tools, remote, point)
    else:
        sound = [key for disk in point.disks for key in await _disk(action, tools, remote, disk)]
    proof = Proof(ProofLevel.CHAIN, action.stamp, tools.clock.now(), tools.gauge.done_bytes)
    await note_proof(remote, action.vm, action.job_id, proof, {_path(action, key) for key in sound})


async def _archive(
    action: Verify, tools: Tools, remote: Remote, point: RestorePoint
) -> Sequence[str]:
    """Nobody changes an archive once it is there, so reading it again is all there is to do."""
    key = key_of(action.vm, point.archive)
    tools.gauge.expect((await remote.stat(key)).size_bytes)
    flaw = await flaw_of_archive(remote, key, on_progress=tools.gauge.advance)
    if flaw is not None:
        await _settle(action, tools, remote, [key], flaw, lambda: flaw_of_archive(remote, key))
    return [key]


async def _disk(action: Verify, tools: Tools, remote: Remote, disk: PointDisk) -> Sequence[str]:
    """Read a disk through its chain; return the keys of that."""
    keys = await chain_keys_of(remote, action.vm, disk.path)
    gauge, workers = tools.gauge, tools.block_workers
    flaw = await flaw_of_disk(
        remote, keys, workers, on_expected=gauge.expect, on_progress=gauge.advance
    )
    if flaw is None:
        return keys
    blocks = flaw.blocks

    async def look_again() -> Flaw | None:
        async with vm_lock(remote, action.vm, tools.clock):
            below = await chain_keys_of(remote, action.vm, _path(action, keys[0]))
            return await flaw_of_disk(remote, below, workers, within=blocks)

    await _settle(action, tools, remote, keys, flaw, look_again)
    return keys


async def _settle(
    action: Verify,
    tools: Tools,
    remote: Remote,
    keys: Sequence[str],
    first: Flaw,
    look_again: Callable[[], Awaitable[Flaw | None]],
) -> None:
    """Look again, note what is at fault, and say so."""
    flaw = await look_again()
    if flaw is None:
        why = f"{first.why}; when it was read again it was right"
        raise Refused(Reason.WORLD_CHANGED, why)
    key = await _at_fault(action, remote, keys, flaw)
    stat = await remote.stat(key)
    path = _path(action, key)
    damage = Damage(path, flaw.why, tools.clock.now(), stat.size_bytes, stat.mtime_ns)
    await note_damage(remote, action.vm, action.job_id, damage)
    log.error("restore point damaged", vm=action.vm_name, stamp=action.stamp, path=path)
    why = f"{flaw.why}; what stands on {path} cannot be restored from here"
    raise Refused(Reason.PROOF_FAILED, why)


async def _at_fault(action: Verify, remote: Remote, keys: Sequence[str], flaw: Flaw) -> str:
    """The key of the file of the chain that a flaw is in; of the tip, if nobody can tell."""
    for key in keys:
        if flaw.key == key:
            return key
        data = (await read_disk(remote, action.vm, _path(action, key))).data
        if data and flaw.key.startswith(key_of(action.vm, data)):
            return key
    return keys[0]


def _path(action: Verify, key: str) -> str:
    return key.removeprefix(key_of(action.vm, ""))
