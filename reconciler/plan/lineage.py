"""Rule: each disk's way to a remote: full or delta.

Each remote follows its own reference. A disk goes as a delta only if the newest file of its chain
*on that remote* was exported from a snapshot that is still on the pool: the id in the file's own
footer says so, no record of ours does. Otherwise it goes whole, with the reason why, and only this
disk, only there. A chain of files that cannot be followed to its full is never added to, and none
is ever of two layouts.

A disk whose file for this snapshot is already there and whole (the export was interrupted later)
is not sent again. The action names it all the same: a point has all the disks of its snapshot.

How long a chain has been going is counted in points taken since its full, which each point says of
itself: merges make the chain shorter, and the age of its full no less.
"""

from dataclasses import dataclass

from reconciler.desired.state import DiskLayout
from reconciler.ids import DiskUuid, JobId, RemoteName, Stamp
from reconciler.observed.chain import DiskFile, RestorePoint, disk_name
from reconciler.observed.pool import DiskSnapshot
from reconciler.plan.actions import Action, DiskExport, Export, ExportKind, id_of
from reconciler.plan.debris import clean_garbage
from reconciler.plan.files import directory_of, files_of
from reconciler.plan.merge import merge_to_finish
from reconciler.plan.reasons import Reason
from reconciler.plan.scope import MarkedSnapshot, Scope, Target
from reconciler.plan.shelf import Files
from reconciler.plan.world import Obstacle, World

_FAILURES_MAX = 3  # of tidying up a chain; then exports wait for it no longer


def disks(
    world: World,
    scope: Scope,
    target: Target,
    snapshot: MarkedSnapshot,
    *,
    deltas_fail: bool = False,
) -> tuple[DiskExport, ...]:
    """Say of each disk of a snapshot how it gets to a remote that was seen.

    deltas_fail: the pool could not read them, several times.
    """
    assert target.history is not None
    remote = target.site.remote
    way = _Way(
        scope=scope,
        target=target,
        files=files_of(world, remote, target.history),
        stamp=snapshot.stamp,
        blocks=in_blocks(world, remote),
        deltas_fail=deltas_fail,
    )
    return tuple(way.of(disk) for disk in snapshot.disks)


def in_blocks(world: World, remote: RemoteName) -> bool:
    """Say whether disks are written to a remote as block directories."""
    return world.desired.remotes[remote].layout is DiskLayout.BLOCKS


@dataclass(frozen=True, slots=True)
class _Way:
    """The way of one snapshot's disks to one remote. blocks: the layout in which they will lie."""

    scope: Scope
    target: Target
    files: Files
    stamp: Stamp
    blocks: bool
    deltas_fail: bool

    def of(self, disk: DiskSnapshot) -> DiskExport:
        assert disk.disk is not None, "a snapshot with a nameless disk is not exported"
        directory = _directory(self.scope.job.id, disk.disk)
        name = disk_name(self.stamp, blocks=self.blocks)
        present = self.files.chains.files.get(f"{directory}/{name}")
        if (
            present is not None
            and present.uuid == disk.uuid
            and self.files.chains.depth(present.path) > 0
        ):
            return DiskExport(
                disk=disk.disk,
                snapshot=disk.uuid,
                kind=ExportKind.FULL if present.parent is None else ExportKind.DELTA,
                reason=Reason.ALREADY_EXPORTED,
                base=present.parent_uuid,
                base_file=present.parent,
                since_full=self._since_full(present),
            )
        tip = self.files.tip(directory)
        if tip is None:
            full = Reason.DISK_ADDED if self.target.points else Reason.FIRST_BACKUP
        elif (unfit := self._unfit(tip, disk, disk.disk, name)) is not None:
            full = unfit
        else:
            return DiskExport(
                disk=disk.disk,
                snapshot=disk.uuid,
                kind=ExportKind.DELTA,
                reason=Reason.BASE_PRESENT,
                base=tip.uuid,
                base_file=tip.file_name,
                # What changed is not known before it is read; the last delta is the best guess.
                estimate_bytes=tip.data_bytes if tip.parent is not None else 0,
                since_full=self._since_full(tip) + 1,
            )
        return DiskExport(
            disk=disk.disk,
            snapshot=disk.uuid,
            kind=ExportKind.FULL,
            reason=full,
            estimate_bytes=disk.size_bytes,
        )

    def _unfit(  # noqa: PLR0911 (it is a table)
        self, tip: DiskFile, disk: DiskSnapshot, live: DiskUuid, name: str
    ) -> Reason | None:
        """Say why no delta can stand on the tip; None if one can."""
        if tip.blocks is not self.blocks:
            return Reason.LAYOUT_CHANGED
        chains, full_every = self.files.chains, self.scope.job.full_every
        if chains.depth(tip.path) == 0 or tip.file_name >= name or chains.carries(tip):
            return Reason.CHAIN_BROKEN
        if full_every and self._since_full(tip) + 1 >= full_every:
            return Reason.KEY_INTERVAL_REACHED
        if not has_base(self.scope, tip.uuid, live, self.stamp):
            return Reason.REFERENCE_SNAPSHOT_LOST
        if self.deltas_fail:
            return Reason.DELTA_FAILED
        if tip.virtual_bytes > disk.size_bytes:
            return Reason.DISK_SHRUNK
        # Xen Orchestra cannot merge a chain of block directories whose sizes differ.
        grown = tip.virtual_bytes < disk.size_bytes
        return Reason.DISK_GROWN if self.blocks and grown else None

    def _since_full(self, tip: DiskFile) -> int:
        """Count the points taken since the full below a file: what its point says of itself.

        A file without a point (an export was interrupted) is one more than the one below it.
        Points of other writers do not say; then what is left of the chain is counted.
        """
        files = self.files.chains.files
        said = {
            disk.path: disk.since_full
            for point in self.target.points[-1:]
            if isinstance(point, RestorePoint)
            for disk in point.disks
        }
        more, path = 0, tip.path
        while path not in said and more < len(files):
            below = files[path].parent_path if path in files else None
            if below is None:
                return more
            more, path = more + 1, below
        recorded = said.get(path)
        left = self.files.chains.depth(tip.path) - 1
        return max(left, 0 if recorded is None else recorded + more)


def has_base(scope: Scope, base: str, live: DiskUuid, before: Stamp) -> bool:
    """Say whether a disk snapshot is still part of one of ours, to take a difference to."""
    return any(
        disk.uuid == base and disk.disk == live
        for snapshot in scope.snapshots
        if snapshot.stamp < before
        for disk in snapshot.snapshot.disks
    )


def wait_for(world: World, target: Target, action: Export) -> Obstacle | None:
    """Say what is done to the chains first, by this same plan.

    Tidying up that keeps failing holds up no backup: then the disk goes whole, into a new chain.
    """
    history, remote = target.history, target.site.remote
    assert history is not None
    files = files_of(world, remote, history)
    if not history.merges and not files.garbage:
        return None
    to_send = action.disks_to_send
    directories = {_directory(action.job_id, disk.disk) for disk in to_send}
    for merge in history.merges:
        if directory_of(merge.source) in directories and not keeps_failing(
            world, merge_to_finish(world, remote, history, merge)
        ):
            why = "a begun merge of its chain is finished first"
            return Obstacle(Reason.MERGE_INTERRUPTED, why)
    in_the_way = {
        _directory(action.job_id, disk.disk) for disk in to_send if disk.kind is ExportKind.FULL
    }
    if not history.unreadable and any(directory_of(path) in in_the_way for path in files.garbage):
        clean = clean_garbage(world, remote, history, files)
        if clean is not None and not keeps_failing(world, clean):
            why = "left-over files of its chain are removed first"
            return Obstacle(Reason.FILE_UNREFERENCED, why)
    return None


def keeps_failing(world: World, action: Action) -> bool:
    """Say whether an action that should come first is stuck, or has failed too often."""
    attempt = world.observed.progress.ended.get(id_of(action))
    if attempt is None or attempt.succeeded:
        return False
    return attempt.not_before is None or attempt.count >= _FAILURES_MAX


def deltas_fail(world: World, action: Action) -> bool:
    """Say whether the pool failed to read what an action sends, again and again.

    What was changed since the base may be unreadable while the whole disk is not.
    """
    attempt = world.observed.progress.ended.get(id_of(action))
    return (
        attempt is not None
        and not attempt.succeeded
        and attempt.reason == Reason.XAPI_ERROR
        and attempt.count >= _FAILURES_MAX
    )


def _directory(job: JobId, disk: DiskUuid) -> str:
    return f"vdis/{job}/{disk}"
