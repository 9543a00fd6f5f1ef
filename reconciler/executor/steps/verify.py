"""Read a restore point whole, as a restore would, and note on the remote what that showed.

It is compared with the checksums that were taken when it was written; where they are not known,
they are from now on. Needs no lock to read, as a restore does not. What seems damaged is read a
second time before it is noted, where others might have been at it: with their lock. From then on
it counts as broken, so that the next backup begins a new chain; nothing is ever removed for it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from reconciler.catalog.chains import chain_keys_of
from reconciler.catalog.layout import DiskPath, key_of, parse_metadata_name, vm_key
from reconciler.catalog.lock import vm_lock
from reconciler.catalog.metadata import point_of
from reconciler.catalog.proofs import note_damage, note_proof
from reconciler.catalog.read import read_metadata
from reconciler.catalog.read_disks import read_disk
from reconciler.catalog.safety import parsed
from reconciler.catalog.sums import DiskSums, put_sums, read_table, tidy
from reconciler.executor.refusal import Refused
from reconciler.executor.tools import Tools
from reconciler.observed.chain import PointDisk, RestorePoint
from reconciler.observed.proof import Damage, Proof, ProofLevel
from reconciler.plan.actions import Verify
from reconciler.plan.reasons import Reason
from reconciler.remotes.remote import Remote
from reconciler.transfer.proof import Flaw, flaw_of_archive, flaw_of_disk
from reconciler.transfer.sums import BlockSums
from reconciler.vhd.layout import blocks_of

log = structlog.get_logger(__name__)


async def run(action: Verify, tools: Tools) -> None:
    """Verify the point. Raises Refused (ProofFailed) if it is not what was written; RemoteError,
    CatalogError if it could not be read, or the note not be written.
    """
    remote = await tools.remote(action.remote)
    metadata = await read_metadata(remote, action.vm, action.stamp)
    point = point_of(metadata, action.vm, action.stamp)
    step = _Step(action, tools, remote)
    if point.archive:
        level, sound = ProofLevel.CHECKSUM, await step.archive(point)
    else:
        disks = [await step.disk(disk) for disk in point.disks]
        known = all(disk.known for disk in disks)
        level = ProofLevel.CHECKSUM if known else ProofLevel.CHAIN
        sound = {path for disk in disks for path in disk.paths}
        await step.keep_sums(disks)
    proof = Proof(level, action.stamp, tools.clock.now(), tools.gauge.done_bytes)
    await note_proof(remote, action.vm, action.job_id, proof, sound)


@dataclass(frozen=True, slots=True)
class _Sound:
    """A disk that was read whole. known: it was compared with what had been written. sums: of what
    was read. paths: of the files that it was read from.
    """

    place: DiskPath
    known: bool
    sums: DiskSums
    paths: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Step:
    """What the parts of one verification share."""

    action: Verify
    tools: Tools
    remote: Remote

    async def archive(self, point: RestorePoint) -> set[str]:
        """Nobody changes an archive once it is there, so reading it again is all there is to do."""
        key = key_of(self.action.vm, point.archive)
        self.tools.gauge.expect((await self.remote.stat(key)).size_bytes)
        advance = self.tools.gauge.advance
        flaw = await flaw_of_archive(self.remote, key, on_progress=advance)
        if flaw is not None:
            await self._settle([key], flaw, lambda: flaw_of_archive(self.remote, key))
        return {point.archive}

    async def disk(self, disk: PointDisk) -> _Sound:
        """Read a disk through its chain."""
        remote, vm, gauge = self.remote, self.action.vm, self.tools.gauge
        workers, place = self.tools.block_workers, parsed(disk.path)
        keys = await chain_keys_of(remote, vm, disk.path)
        blocks = blocks_of((await read_disk(remote, vm, disk.path)).virtual_bytes)
        expected = await read_table(remote, vm, place, disk.snapshot, blocks)
        sums = BlockSums()
        flaw = await flaw_of_disk(
            remote,
            keys,
            workers,
            expected,
            on_sum=sums.add,
            on_expected=gauge.expect,
            on_progress=gauge.advance,
        )

        async def look_again() -> Flaw | None:
            assert flaw is not None
            async with vm_lock(remote, vm, self.tools.clock):
                below = await chain_keys_of(remote, vm, disk.path)
                return await flaw_of_disk(remote, below, workers, expected, within=flaw.blocks)

        if flaw is not None:
            await self._settle(keys, flaw, look_again)
        paths = frozenset(map(self._path, keys))
        return _Sound(place, expected is not None, DiskSums(disk.snapshot, None, sums), paths)

    async def keep_sums(self, disks: Sequence[_Sound]) -> None:
        """Keep what each disk reads as, whole: what comes next stands on it, what was may go."""
        remote, vm = self.remote, self.action.vm
        stamps = {parse_metadata_name(entry.name) for entry in await remote.list(vm_key(vm))}
        points = {stamp for stamp in stamps if stamp is not None}
        for disk in disks:
            await put_sums(remote, vm, disk.place, disk.sums)
            await tidy(remote, vm, disk.place, points)

    async def _settle(
        self, keys: Sequence[str], first: Flaw, look_again: Callable[[], Awaitable[Flaw | None]]
    ) -> None:
        """Look again, note what is at fault, and say so."""
        action, remote = self.action, self.remote
        flaw = await look_again()
        if flaw is None:
            why = f"{first.why}; when it was read again it was right"
            raise Refused(Reason.WORLD_CHANGED, why)
        key = await self._at_fault(keys, flaw)
        stat = await remote.stat(key)
        path = self._path(key)
        at = self.tools.clock.now()
        damage = Damage(path, flaw.why, at, stat.size_bytes, stat.mtime_ns)
        await note_damage(remote, action.vm, action.job_id, damage)
        log.error("restore point damaged", vm=action.vm_name, stamp=action.stamp, path=path)
        why = f"{flaw.why}; what stands on {path} cannot be restored from here"
        raise Refused(Reason.PROOF_FAILED, why)

    async def _at_fault(self, keys: Sequence[str], flaw: Flaw) -> str:
        """The key of the file of the chain that a flaw is in; of the tip, if nobody can tell."""
        for key in keys:
            if flaw.key == key:
                return key
            data = (await read_disk(self.remote, self.action.vm, self._path(key))).data
            if data and flaw.key.startswith(key_of(self.action.vm, data)):
                return key
        return keys[0]

    def _path(self, key: str) -> str:
        return key.removeprefix(key_of(self.action.vm, ""))
