"""What a remote holds of a VM: listings, metadata and disk headers become a History.

A History is made of a reading without a single error, or not at all: "I could not read it" never
means "it is not there". What was read and makes no sense is listed as unreadable and is nobody's
to delete; what a proof found damaged counts as broken, for as long as it is the same file. Knows
the layout; never what ought to be there, and changes nothing.

A remote that did not change since the last look costs listings only: what was read of a file
stands in `Headers` under its name, size, modification time and inode.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from reconciler.catalog import layout
from reconciler.catalog.archives import judged
from reconciler.catalog.errors import MetadataInvalid
from reconciler.catalog.headers import Finding, Headers, Signature
from reconciler.catalog.lock import STALE_S, is_held_here
from reconciler.catalog.metadata import METADATA_BYTES_MAX, PointMetadata, point_of
from reconciler.catalog.proofs import read_notes
from reconciler.catalog.read_disks import list_data, read_disk
from reconciler.ids import UUID, Stamp, VmUuid
from reconciler.observed.chain import (
    DiskFile,
    FileState,
    History,
    MergeInProgress,
    RestorePoint,
    Unreadable,
)
from reconciler.observed.proof import Damage, ProofNotes
from reconciler.remotes.errors import Missing, TooLarge
from reconciler.remotes.filesystem import Stat
from reconciler.remotes.remote import Entry, Remote
from reconciler.transfer.journal import MergeJournal, read_journal

_NEVER = datetime.min.replace(tzinfo=UTC)
_NEITHER = "it is neither a file nor a directory"
_IN_PLACE_OF_A_FILE = "it is a directory where a file should be"


async def list_vms(remote: Remote) -> list[VmUuid]:
    """List the VMs that have a directory. Raises RemoteError; a remote without any is empty."""
    try:
        entries = await remote.list(layout.ROOT)
    except Missing:
        await remote.list("")  # the remote itself is there, or this raises
        return []
    vms = (layout.parse_vm(entry.name) for entry in entries if entry.stat.is_directory)
    return [vm for vm in vms if vm is not None]


async def read_vm(
    remote: Remote,
    vm: VmUuid,
    as_of: datetime,
    headers: Headers | None = None,
    *,
    noted: bool = True,
) -> History:
    """Read all that a remote holds of a VM. as_of: an instant before the reading began.

    headers: what earlier looks read; without it everything is read. noted: of its points something
    may be proven. Raises RemoteError: then nothing is known of the VM.
    """
    headers = headers or Headers()
    notes = await read_notes(remote, vm) if noted else ProofNotes()
    reading = _Reading(remote, vm, headers.known(vm), notes)
    await reading.points()
    await reading.disks()
    headers.replace(vm, reading.fresh)
    return reading.history(as_of, locked=await _is_locked(remote, vm, as_of, headers))


async def read_afresh(remote: Remote, vm: VmUuid) -> History:
    """Read everything again, for whoever holds the lock and is about to change something.

    Nothing that was known before is believed. Raises RemoteError.
    """
    reading = _Reading(remote, vm, {}, await read_notes(remote, vm))
    await reading.points()
    await reading.disks()
    return reading.history(_NEVER, locked=False)


async def read_directory(remote: Remote, vm: VmUuid, directory: str) -> History:
    """The same for the files of one disk of one job only: points are left out."""
    reading = _Reading(remote, vm, {}, await read_notes(remote, vm))
    await reading.disk_directory(directory)
    return reading.history(_NEVER, locked=False)


@dataclass(slots=True)
class _Reading:
    """One reading of one VM's directory."""

    remote: Remote
    vm: VmUuid
    known: dict[str, tuple[Signature, Finding]]
    notes: ProofNotes
    fresh: dict[str, tuple[Signature, Finding]] = field(default_factory=dict)
    found_points: list[RestorePoint] = field(default_factory=list)
    files: dict[str, DiskFile] = field(default_factory=dict)
    partials: list[str] = field(default_factory=list)
    merges: list[MergeInProgress] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    data: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    damages: Mapping[str, Damage] = field(init=False)

    def __post_init__(self) -> None:
        self.damages = self.notes.damages

    def history(self, as_of: datetime, *, locked: bool) -> History:
        return History(
            vm=self.vm,
            as_of=as_of,
            points=tuple(sorted(self.found_points, key=lambda point: point.stamp)),
            files=self.files,
            partials=tuple(sorted(self.partials)),
            merges=tuple(self.merges),
            unreadable=tuple(sorted(self.unreadable, key=lambda item: item.path)),
            locked_by_others=locked,
            proofs=self.notes.proofs,
        )

    def puzzled(self, path: str, why: str) -> None:
        self.unreadable.append(Unreadable(path, why))

    # ── metadata ─────────────────────────────────────────────────────────────────────────────

    async def points(self) -> None:
        entries = await self._list("")
        beside = {entry.name: entry.stat for entry in entries if entry.stat.is_regular}
        sizes = {name: stat.size_bytes for name, stat in beside.items()}
        for entry in entries:
            name = entry.name
            if layout.is_partial(name) and entry.stat.is_regular:
                self.partials.append(name)
            elif layout.is_metadata_like(name):
                stamp = layout.parse_metadata_name(name)
                if not entry.stat.is_regular:
                    self.puzzled(name, _NEITHER)
                elif stamp is None:
                    self.puzzled(name, "its name is no instant")
                else:
                    await self._point(name, stamp, entry, sizes)
        self._note_flaws(beside)

    def _note_flaws(self, beside: Mapping[str, Stat]) -> None:
        """Archives that were found damaged. beside: the files in the VM's directory."""
        for index, point in enumerate(self.found_points):
            stat = beside.get(point.archive)
            damage = None if stat is None else self._damage(point.archive, stat)
            if damage is not None and not point.flaw:
                self.found_points[index] = replace(point, flaw=damage.why)

    async def _point(self, path: str, stamp: Stamp, entry: Entry, sizes: Mapping[str, int]) -> None:
        async def look() -> Finding:
            return point_of(await read_metadata(self.remote, self.vm, stamp), self.vm, stamp)

        try:
            finding = await self._recall(path, entry, look)
        except MetadataInvalid as error:
            self.puzzled(path, str(error))
        except TooLarge as error:
            self.puzzled(path, error.message)
        except Missing:
            pass  # pruned since it was listed
        else:
            assert isinstance(finding, RestorePoint)
            self.found_points.append(judged(finding, sizes))

    # ── disk files ───────────────────────────────────────────────────────────────────────────

    async def disks(self) -> None:
        for job in await self._directories(layout.DISKS, lambda _: True):
            for directory in await self._directories(job, _is_uuid):
                await self.disk_directory(directory)

    async def _directories(self, path: str, wanted: Callable[[str], bool]) -> list[str]:
        """The directories in a directory; names that NAS systems add to every one are none."""
        found = []
        for entry in await self._list(path):
            inner = f"{path}/{entry.name}"
            if entry.name.startswith((".", "@", "#")) or not wanted(entry.name):
                continue
            if entry.stat.is_directory:
                found.append(inner)
            elif not entry.stat.is_regular:
                self.puzzled(inner, _NEITHER)
        return found

    async def disk_directory(self, directory: str) -> None:
        """Read the files of one disk of one job."""
        entries = await self._list(directory)
        journals = await self._journals(directory, entries)
        merging = {
            name for target, journal in journals.items() for name in (target, *journal.chain)
        }
        has_data = any(entry.name == layout.DATA and entry.stat.is_directory for entry in entries)
        self.data = await list_data(self.remote, self.vm, directory) if has_data else {}
        for entry in entries:
            path = f"{directory}/{entry.name}"
            if layout.is_partial(entry.name) and entry.stat.is_regular:
                self.partials.append(path)
            elif layout.is_disk_like(entry.name):
                if entry.stat.is_directory:
                    self.puzzled(path, _IN_PLACE_OF_A_FILE)
                elif not entry.stat.is_regular:
                    self.puzzled(path, _NEITHER)
                elif layout.parse_disk_path(path) is None:
                    self.puzzled(path, "its name is no instant")
                else:
                    await self._disk(path, entry, in_merge=entry.name in merging)

        for target, journal in journals.items():
            self._merge(directory, target, journal)
            self._undo_identity(f"{directory}/{target}")
        self.partials += self._unnamed(directory, journals)

    def _unnamed(self, directory: str, journals: Mapping[str, MergeJournal]) -> list[str]:
        """Block directories that no alias names: not finished, or of disks that are being removed.

        Where a merge has begun, or something beside them makes no sense, nobody knows that.
        """
        puzzling = any(item.path.startswith(f"{directory}/") for item in self.unreadable)
        files = [file for file in self.files.values() if file.directory == directory]
        if journals or puzzling or any(file.blocks and not file.data for file in files):
            return []
        named = {file.data for file in files}
        return [path for path in self.data if path not in named and layout.parse_data_path(path)]

    async def _journals(self, directory: str, entries: list[Entry]) -> dict[str, MergeJournal]:
        """Read the journals of unfinished merges, by the name of the file that is merged into."""
        journals = {}
        for entry in entries:
            target = layout.parse_journal_name(entry.name)
            if target is not None and entry.stat.is_regular:
                key = layout.key_of(self.vm, f"{directory}/{entry.name}")
                try:
                    journal = await read_journal(self.remote, key)
                except TooLarge:
                    journal = MergeJournal.parse(b"")
                if journal is not None:
                    journals[target] = journal
        return journals

    def _merge(self, directory: str, target: str, journal: MergeJournal) -> None:
        path = f"{directory}/{target}"
        journal_path = layout.journal_of(path)
        sources = [f"{directory}/{name}" for name in journal.chain[-1:]]
        if not journal.chain:
            # Xen Orchestra writes its state in place; after a crash it may be empty. What it was
            # about can be seen.
            sources = [file.path for file in self.files.values() if file.parent_path == path]
        elif journal.chain[0] != target or layout.parse_disk_path(sources[0]) is None:
            self.puzzled(journal_path, "this merge is about other files than it stands beside")
            return
        if len(sources) == 1:
            self.merges.append(MergeInProgress(journal_path, path, sources[0]))
        else:
            self.puzzled(journal_path, "which files are being merged here cannot be told")

    def _undo_identity(self, target: str) -> None:
        """See a file that is about to replace the newer one as what it still is: the older one.

        The last act of a merge in place gives it the newer file's uuid, while that file is still
        there and names it by its own as its parent.
        """
        merge = next((merge for merge in self.merges if merge.target == target), None)
        file = self.files.get(target)
        newer = self.files.get(merge.source) if merge is not None else None
        above = [other for other in self.files.values() if other.parent_path == target]
        if file is None or newer is None or file.uuid != newer.uuid or len(above) != 1:
            return
        if above[0].parent_uuid is not None:
            self.files[target] = replace(file, uuid=above[0].parent_uuid)

    async def _disk(self, path: str, entry: Entry, *, in_merge: bool) -> None:
        async def look() -> Finding:
            return await read_disk(self.remote, self.vm, path, in_merge=in_merge)

        try:
            finding = await self._recall(path, entry, look, in_merge=in_merge)
        except Missing:
            return  # removed since it was listed
        if isinstance(finding, DiskFile):
            damage = self._damage(path, entry.stat)
            if damage is not None and finding.state is FileState.OK:
                finding = replace(finding, state=FileState.BROKEN, why=damage.why)
            self.files[path] = finding

    # ── both ─────────────────────────────────────────────────────────────────────────────────

    def _damage(self, path: str, stat: Stat) -> Damage | None:
        """What is known to be wrong in a file, if it is the one that was read then."""
        damage = self.damages.get(path)
        now = stat.size_bytes, stat.mtime_ns
        return damage if damage and (damage.size_bytes, damage.mtime_ns) == now else None

    async def _list(self, path: str) -> list[Entry]:
        try:
            return await self.remote.list(layout.key_of(self.vm, path).rstrip("/"))
        except Missing:
            return []

    async def _recall(
        self,
        path: str,
        entry: Entry,
        look: Callable[[], Awaitable[Finding]],
        *,
        in_merge: bool = False,
    ) -> Finding:
        """What is known of a file if it did not change, else what looking at it says."""
        known = self.known.get(path)
        if known is not None and known[0] == self._signature(entry, in_merge, known[1]):
            finding = known[1]
        else:
            finding = await look()
        # A broken file is looked at again each time: what was wrong may have been the way to it.
        if not (isinstance(finding, DiskFile) and finding.state is FileState.BROKEN):
            self.fresh[path] = (self._signature(entry, in_merge, finding), finding)
        return finding

    def _signature(self, entry: Entry, in_merge: bool, finding: Finding) -> Signature:
        stat = entry.stat
        data = self.data.get(finding.data) if isinstance(finding, DiskFile) else None
        return Signature(stat.size_bytes, stat.mtime_ns, stat.inode, in_merge, data)


async def read_metadata(remote: Remote, vm: VmUuid, stamp: Stamp) -> PointMetadata:
    """Read one point's metadata. Raises MetadataInvalid, RemoteError (Missing, TooLarge…)."""
    key = layout.metadata_key(vm, stamp)
    return PointMetadata.parse(await remote.get(key, METADATA_BYTES_MAX))


async def _is_locked(remote: Remote, vm: VmUuid, as_of: datetime, headers: Headers) -> bool:
    """Whether somebody else's lock looks alive; for the planner to wait. Taking it decides.

    Looking must not write, so the file server's present is not known here. A lock counts as dead
    if its heartbeat stood still between two looks, or is old by our own clock.
    """
    try:
        stat = await remote.stat(layout.lock_key(vm))
    except Missing:
        headers.lock_seen(vm, None, as_of)
        return False
    since = headers.lock_seen(vm, stat.mtime_ns, as_of)
    age_s = as_of.timestamp() - stat.mtime_ns / 10**9
    stood_still_s = (as_of - since).total_seconds()
    return not is_held_here(remote.name, vm) and age_s <= STALE_S and stood_still_s <= STALE_S


def _is_uuid(name: str) -> bool:
    return UUID.fullmatch(name) is not None
