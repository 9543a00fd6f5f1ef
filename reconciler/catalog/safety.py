"""Is it safe? What must be so on the remote before anything in a VM's directory is changed.

Pure: a History that was just read under the lock goes in, NotSafe comes out if there is any doubt.
Nothing that is needed is removed, nor anything that *might* be: what could not be understood may
stand on whatever lies beside it.
"""

from collections.abc import Mapping

from reconciler.catalog import layout
from reconciler.catalog.errors import LastGoodPoint, NotSafe
from reconciler.ids import Stamp
from reconciler.observed.chain import (
    BrokenChain,
    Chains,
    DiskFile,
    FileState,
    History,
    chain_of,
)
from reconciler.vhd.layout import blocks_of


def check_prunable(history: History, stamp: Stamp) -> bool:
    """Say whether there is such a point to prune. Raises NotSafe if it must stay."""
    path = layout.metadata_path(stamp)
    if any(item.path == path for item in history.unreadable):
        raise NotSafe(path, "it is not understood, so nobody knows what would be lost")
    if all(point.stamp != stamp for point in history.points):
        return False
    chains = Chains(history.files)
    others = (point for point in history.points if point.stamp != stamp)
    if not any(chains.is_whole(point) for point in others):
        raise LastGoodPoint(path, "no other point of this VM could be restored")
    return True


def check_fits(file: DiskFile, beside: History) -> None:
    """Raise NotSafe unless a new disk file can stand beside and on what is there."""
    others = {path: other for path, other in beside.files.items() if path != file.path}
    namesake = beside.files.get(file.path)
    if file.state is FileState.BROKEN:
        raise NotSafe(file.path, f"what was received is not whole: {file.why}")
    if namesake is not None and namesake.uuid not in ("", file.uuid):
        raise NotSafe(file.path, f"is there already, of snapshot {namesake.uuid}")
    if namesake is not None and namesake.state is FileState.BROKEN:
        raise NotSafe(file.path, f"is there already, and is not understood: {namesake.why}")
    for other in others.values():
        if other.parent_path == file.path:
            raise NotSafe(file.path, f"{other.file_name} stands on a file of this name already")
        if other.uuid == file.uuid:
            raise NotSafe(file.path, f"{other.file_name} is of the same snapshot")
        if file.data and other.data == file.data:
            raise NotSafe(file.path, f"{other.file_name} names its block directory")
        if file.parent is not None and other.parent == file.parent:
            raise NotSafe(file.path, f"{other.file_name} stands on {file.parent} already")
    if file.parent is None:
        return
    if why := why_broken({**others, file.path: file}, file.path):
        raise NotSafe(file.path, why)
    if not file.parent < file.file_name:
        raise NotSafe(file.path, f"its parent {file.parent} is not older")
    if any(file.parent_path in (item.target, item.source) for item in beside.merges):
        raise NotSafe(file.path, f"its parent {file.parent} is being merged")
    _check_layout(file, others)


def _check_layout(file: DiskFile, others: Mapping[str, DiskFile]) -> None:
    """Raise NotSafe for a delta on a file of the other layout, or on a smaller one in block mode.

    Xen Orchestra's merge of the latter makes what it cannot open, and then removes the chain.
    """
    assert file.parent_path is not None, "a full fits any layout"
    parent = others[file.parent_path]
    if file.blocks != parent.blocks:
        raise NotSafe(file.path, f"its parent {file.parent} is of the other layout")
    if file.blocks and blocks_of(file.virtual_bytes) > blocks_of(parent.virtual_bytes):
        raise NotSafe(file.path, f"the disk is larger than its parent {file.parent} is")


def removable(history: History, paths: set[str]) -> list[DiskFile]:
    """The disk files among these paths, tips first. Raises NotSafe if one of them may be needed."""
    remaining = dict(history.files)
    chosen = []
    for path in sorted(paths, reverse=True):  # a child's name sorts after its parent's
        if layout.parse_disk_path(path) is None:
            if any(item.path == path for item in history.unreadable):
                raise NotSafe(path, "it is not understood")
            if not (layout.is_partial(path.rpartition("/")[2]) or layout.parse_data_path(path)):
                raise NotSafe(path, "it is nothing of a kind that is ever removed")
            continue  # an unfinished upload that is gone
        file = remaining.get(path)
        if file is not None:
            _check_unneeded(history, remaining, file)
            del remaining[path]
            chosen.append(file)
    return chosen


def _check_unneeded(history: History, files: Mapping[str, DiskFile], file: DiskFile) -> None:
    """Raise NotSafe if a point, a file or a merge needs this file, or might."""
    if file.state is FileState.BROKEN:
        raise NotSafe(file.path, f"it is broken ({file.why}), and kept for a person to look at")
    for point in history.points:
        if any(disk.path == file.path for disk in point.disks):
            raise NotSafe(file.path, f"restore point {point.stamp} needs it")
    for item in history.unreadable:
        if _might_need(item.path, file):
            raise NotSafe(file.path, f"{item.path} is not understood ({item.why}); it may need it")
    for other in files.values():
        if other.parent_path == file.path:
            raise NotSafe(file.path, f"{other.file_name} stands on it")
        if other.directory == file.directory and other.state is FileState.BROKEN:
            raise NotSafe(file.path, f"{other.file_name} is broken; it may stand on it")
    for merging in history.merges:
        if file.path in (merging.target, merging.source):
            raise NotSafe(file.path, "it is being merged")


def _might_need(unreadable: str, file: DiskFile) -> bool:
    """Metadata may name any file of the VM; what lies among disk files concerns its directory."""
    if "/" not in unreadable:
        return True
    return file.directory.startswith(unreadable) or unreadable.startswith(f"{file.directory}/")


def check_mergeable(history: History, target: str, source: str) -> None:
    """Raise NotSafe unless the target may be folded into the source. Whether it can is merge's."""
    if parsed(target).directory != parsed(source).directory:
        raise NotSafe(target, f"{source} is in another directory")
    if parsed(target).blocks != parsed(source).blocks:
        raise NotSafe(target, f"{source} is of the other layout")
    for item in history.merges:
        concerned = {item.target, item.source} & {target, source}
        if concerned and (item.target, item.source) != (target, source):
            raise NotSafe(target, f"{item.journal} is of another merge; finish that one first")
    for point in history.points:
        if any(disk.path == target for disk in point.disks):
            raise NotSafe(target, f"restore point {point.stamp} needs it")
    file = history.files.get(target)
    if file is not None:
        _check_alone(history, file, source)


def _check_alone(history: History, file: DiskFile, source: str) -> None:
    """Raise NotSafe if anything but the source may stand on a file that is to be folded into it."""
    begun = any((item.target, item.source) == (file.path, source) for item in history.merges)
    for unreadable in history.unreadable:
        if _might_need(unreadable.path, file):
            raise NotSafe(file.path, f"{unreadable.path} is not understood; it may need it")
    for other in history.files.values():
        if begun and other.path == source:
            continue  # Xen Orchestra removes the newer one, in parts, before it is done
        if other.parent_path == file.path and other.path != source and not begun:
            raise NotSafe(file.path, f"{other.file_name} stands on it")
        if other.directory == file.directory and other.state is FileState.BROKEN:
            raise NotSafe(file.path, f"{other.file_name} is broken ({other.why})")


def why_broken(files: Mapping[str, DiskFile], path: str) -> str:
    """Say why a file cannot be followed to its full; "" if it can."""
    try:
        chain_of(files, path)
    except BrokenChain as error:
        return str(error)
    return ""


def parsed(path: str) -> layout.DiskPath:
    """Take a disk file's path apart. Raises NotSafe."""
    place = layout.parse_disk_path(path)
    if place is None:
        raise NotSafe(path, "is no disk file's path")
    return place
