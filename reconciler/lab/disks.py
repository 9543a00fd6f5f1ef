"""Disks: each VDI's place in a VHD tree, with snapshots that cost no copy.

A disk is one VDI (a managed one or a hidden "base copy") and its own layer. A snapshot turns the
disk's layer into the layer of a new hidden disk and gives the two children empty layers:

    before        A(L1)             after        base(L1) ── A(L2)
                                                          └─ S(L3)

Locks, always taken in this order: the database's, then one disk's `lock` (held while a guest
writes, so a snapshot falls between two writes), then the tree's (short: resolve and open).
What clients see of all this (VDI records, `sm_config`) is the business of `volumes`.
"""

import os
import threading
from collections.abc import Iterable

from reconciler.lab.changes import ChangeLog
from reconciler.lab.database import Database
from reconciler.lab.layers import (
    BLOCK,
    Layer,
    blocks_of,
    copy_range,
    difference,
    read_all,
    write_all,
)
from reconciler.lab.plans import Plan
from reconciler.lab.values import Record, new_uuid

_KIND = "disk"


class Disk:
    """One VDI's data. `uuid` is the VDI's; the layer's id is not (it wanders to the base)."""

    __slots__ = ("layer", "lock", "log", "sr", "tree", "uuid")

    def __init__(self, tree: "DiskTree", uuid: str, sr: str, layer: Layer) -> None:
        self.tree = tree
        self.uuid = uuid
        self.sr = sr
        self.layer = layer
        self.lock = threading.RLock()
        self.log: ChangeLog | None = None

    @property
    def size(self) -> int:
        return self.layer.size

    @property
    def depth(self) -> int:
        return len(self.layer.chain())

    @property
    def utilisation(self) -> int:
        """The bytes its VHD file would take on the SR."""
        entries = blocks_of(self.size)
        table = -(-entries * 4 // 512) * 512
        return 2048 + table + self.layer.allocated * (BLOCK + 512) + 512

    def write(self, offset: int, data: memoryview) -> None:
        """Write as a guest does, at any byte offset.

        Raises:
            ValueError: outside the disk.
        """
        if offset < 0 or offset + len(data) > self.size:
            raise ValueError(f"bytes {offset}..{offset + len(data)} of a disk of {self.size}")
        if not data:
            return
        end = offset + len(data)
        first, last = offset // BLOCK, (end - 1) // BLOCK
        with self.lock:
            target = self.layer.open_write()
            try:
                if offset % BLOCK:
                    self._copy_up(first, target)
                if end % BLOCK and end != self.size:
                    self._copy_up(last, target)
                write_all(target, data, offset)
            finally:
                os.close(target)
            self.layer.mark(first, last)
            if self.log is not None:
                self.log.mark(offset, end)

    def _copy_up(self, block: int, target: int) -> None:
        """A partial write keeps the rest of the block: fetch it from the chain first."""
        if self.layer.map[block]:
            return
        source = self.tree.open_supplier(self.layer, block)
        if source < 0:
            return
        try:
            copy_range(source, target, block * BLOCK, BLOCK)
        finally:
            os.close(source)

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill the view from the disk's present content."""
        with self.lock:
            while view:
                block = offset // BLOCK
                length = min(len(view), (block + 1) * BLOCK - offset)
                source = self.tree.open_supplier(self.layer, block)
                if source < 0:
                    view[:length] = bytes(length)
                else:
                    try:
                        read_all(source, view[:length], offset)
                    finally:
                        os.close(source)
                view = view[length:]
                offset += length


class DiskTree:
    """All disks of a pool and the trees they form, one directory per SR."""

    def __init__(self, directory: str, database: Database) -> None:
        self._directory = directory
        self._database = database
        self._lock = threading.Lock()
        self.disks: dict[str, Disk] = {}
        self.logs: dict[str, ChangeLog] = {}  # changed block logs by VDI uuid, see `tracking`
        self._owners: dict[str, Disk] = {}  # by the id of their own layer
        self._load()

    def _load(self) -> None:
        stored = self._database.documents(_KIND)
        for uuid, value in stored.items():
            sr, layer_id, size = str(value["sr"]), str(value["layer"]), int(str(value["size"]))
            layer = Layer(self._sr_directory(sr), layer_id, size, None)
            self._put(Disk(self, uuid, sr, layer))
        for uuid, value in stored.items():
            if value["parent"]:
                self.disks[uuid].layer.parent = self._owners[str(value["parent"])].layer
        for uuid, value in self._database.documents("log").items():
            size, parent, child = int(str(value["size"])), str(value["parent"]), str(value["child"])
            log = ChangeLog(self.log_path(str(value["sr"]), uuid), size, parent, child)
            self.logs[uuid] = log
            if uuid in self.disks:
                self.disks[uuid].log = log

    def log_path(self, sr: str, uuid: str) -> str:
        return f"{self._sr_directory(sr)}/{uuid}.cbtlog"

    def _sr_directory(self, sr: str) -> str:
        path = os.path.join(self._directory, sr)
        os.makedirs(path, exist_ok=True)
        return path

    def store(self, disk: Disk) -> None:
        layer = disk.layer
        parent = layer.parent.id if layer.parent is not None else ""
        value: Record = {"sr": disk.sr, "layer": layer.id, "parent": parent, "size": layer.size}
        self._database.put_document(_KIND, disk.uuid, value)

    # -- reading ----------------------------------------------------------------------------------

    def owner(self, layer: Layer) -> Disk:
        """The disk whose own layer this is."""
        return self._owners[layer.id]

    def children(self, layer: Layer) -> list[Disk]:
        return [disk for disk in self.disks.values() if disk.layer.parent is layer]

    def open_supplier(self, layer: Layer, block: int) -> int:
        """A descriptor of the file that holds a block, -1 if none does."""
        with self._lock:
            supplier = layer.supplier(block)
            return -1 if supplier is None else supplier.open_read()

    def plan(self, disk: Disk, base: Disk | None) -> Plan:
        """What an export of the disk (or of its difference to a base) sends, frozen as of now.

        Later merges in the tree do not matter: the plan holds its own descriptors.
        """
        with disk.lock, self._lock:
            blocks = difference(disk.layer, base.layer if base is not None else None)
            descriptors: dict[str, int] = {}
            sources = []
            for block in blocks:
                supplier = disk.layer.supplier(block)
                if supplier is None:
                    sources.append(-1)
                    continue
                if supplier.id not in descriptors:
                    descriptors[supplier.id] = supplier.open_read()
                sources.append(descriptors[supplier.id])
            return Plan(disk.size, blocks, sources, list(descriptors.values()))

    # -- changing the tree (under the database's lock) --------------------------------------------

    def create(self, uuid: str, sr: str, size: int) -> Disk:
        """An empty disk without a parent."""
        return self._add(uuid, sr, Layer(self._sr_directory(sr), new_uuid(), size, None))

    def _add(self, uuid: str, sr: str, layer: Layer) -> Disk:
        disk = Disk(self, uuid, sr, layer)
        with self._lock:
            self._put(disk)
        self.store(disk)
        return disk

    def _put(self, disk: Disk) -> None:
        self.disks[disk.uuid] = disk
        self._owners[disk.layer.id] = disk

    def _hold(self, disk: Disk) -> None:
        """Keep the guest from writing until the change is on disk: a layer that a killed process
        had not stored would take the guest's writes with it.
        """
        disk.lock.acquire()
        self._database.defer(disk.lock.release)

    def fork(self, disk: Disk, sibling: str, base: str) -> tuple[Disk, Disk | None]:
        """Snapshot or clone: a new disk with the same content, and the new base if one was made.

        A disk without data since its last fork needs no new base: both hang on the old one.
        """
        self._hold(disk)
        old = disk.layer
        if old.parent is not None and not old.allocated:
            return self._add(sibling, disk.sr, self._child(disk, old.parent)), None
        hidden = self.push(disk, base)
        return self._add(sibling, disk.sr, self._child(disk, old)), hidden

    def push(self, disk: Disk, base: str) -> Disk:
        """Put a fresh empty layer on a leaf; the old one becomes a hidden disk of its own."""
        self._hold(disk)
        old = disk.layer
        hidden = Disk(self, base, disk.sr, old)
        with self._lock:
            disk.layer = self._child(disk, old)
            self._put(hidden)
            self._put(disk)
        self.store(hidden)
        self.store(disk)
        return hidden

    def _child(self, disk: Disk, parent: Layer) -> Layer:
        return Layer(self._sr_directory(disk.sr), new_uuid(), disk.size, parent)

    def remove(self, disk: Disk) -> None:
        """Delete a disk that no other hangs on; readers with a plan keep their descriptors."""
        with self._lock:
            self._owners.pop(disk.layer.id, None)
            self.disks.pop(disk.uuid, None)
        self._database.drop_document(_KIND, disk.uuid)
        self._database.defer(disk.layer.remove_files)

    def resize(self, disk: Disk, size: int) -> None:
        self._hold(disk)
        disk.layer.grow(size)
        if disk.log is not None:
            disk.log.grow(size)
        self.store(disk)

    # -- merging ----------------------------------------------------------------------------------

    def copy_down(self, child: Layer) -> None:
        """Copy a layer's blocks into its parent's file; nothing changes for any reader yet.

        Safe beside readers: a block that both hold is read from the child as long as it exists.
        """
        parent = child.parent
        assert parent is not None
        blocks = [block for block, held in enumerate(child.map) if held]
        if not blocks:
            return
        if parent.size < child.size:
            parent.grow(child.size)
        source, target = child.open_read(), parent.open_write()
        try:
            for block in blocks:
                copy_range(source, target, block * BLOCK, BLOCK)
        finally:
            os.close(source)
            os.close(target)

    def splice_out(self, merged: Disk) -> list[Disk]:
        """After `copy_down`: the parent holds everything, the children of `merged` move to it."""
        layer, parent = merged.layer, merged.layer.parent
        assert parent is not None
        moved = self.children(layer)
        with self._lock:
            _mark_all(parent, layer.map)
            for child in moved:
                child.layer.parent = parent
        for child in moved:
            self.store(child)
        self.store(self.owner(parent))
        self.remove(merged)
        return moved

    def take_over(self, leaf: Disk, base: Disk) -> None:
        """Leaf-coalesce: the leaf's blocks go down and it becomes the base."""
        self._hold(leaf)
        old, kept = leaf.layer, base.layer
        self.copy_down(old)
        with self._lock:
            _mark_all(kept, old.map)
            if kept.size < old.size:
                kept.grow(old.size)
            leaf.layer = kept
            del self.disks[base.uuid]
            del self._owners[old.id]
            self._put(leaf)
        self._database.drop_document(_KIND, base.uuid)
        self._database.defer(old.remove_files)
        self.store(leaf)


def _mark_all(layer: Layer, held: Iterable[int]) -> None:
    for block, present in enumerate(held):
        if present:
            layer.mark(block, block)
