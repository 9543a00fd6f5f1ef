"""What a crash may leave of a file system: images, the effects of calls, and which of them last.

A call changes the file system at once for whoever looks (its *effects*), and for good only once
the file or directory it changed was synced. So after a power cut any subset of the effects since
the last sync may be there. Three kinds of crash are told apart:

  kill   the process died: every effect is there
  torn   the same, and the last write is there in part
  cut    the power failed: some effects since the last syncs are lost, whichever; data of a write
         that lengthened a file may be zeros of the right length instead

Directories are weak: making, renaming and removing names in one is lost unless it was synced, even
if the file itself was. A rename inside one directory is one effect; across two it is two.
"""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.remotes.contents import Content, Extent

ROOT = 1
_TORN_EDGE = 512


@dataclass(frozen=True, slots=True)
class Image:
    """A file system at rest: all of it durable. Inode to names for directories, bytes for files."""

    directories: Mapping[int, Mapping[str, int]] = field(default_factory=lambda: {ROOT: {}})
    contents: Mapping[int, Content] = field(default_factory=dict)

    def fingerprint(self) -> tuple[object, ...]:
        """Equal fingerprints: nobody could tell the two apart (but for inodes and times)."""
        return tuple(self._walk("", ROOT))

    def _walk(self, path: str, inode: int) -> Iterator[object]:
        for name, below in sorted(self.directories[inode].items()):
            inner = f"{path}/{name}"
            if below in self.directories:
                yield inner
                yield from self._walk(inner, below)
            else:
                yield inner, self.contents.get(below, Content()).key


@dataclass(frozen=True, slots=True)
class Overlay:
    """Bytes written into a file. extents: where they lie in the file."""

    inode: int
    start: int
    count: int
    extents: tuple[Extent, ...]

    def torn(self, count: int) -> "Overlay":
        """The first `count` bytes of it."""
        stop = self.start + count
        kept = [extent.between(0, stop) for extent in self.extents if extent.start < stop]
        return Overlay(self.inode, self.start, count, tuple(kept))

    def zeroed(self) -> "Extension":
        """The size without the data."""
        return Extension(self.inode, self.start + self.count)


@dataclass(frozen=True, slots=True)
class Truncation:
    inode: int
    size: int


@dataclass(frozen=True, slots=True)
class Extension:
    """A file was lengthened, with zeros: what a lost write may leave. Never shortens one, and
    bytes that were there stay: a lost overwriting leaves what was overwritten."""

    inode: int
    size: int


@dataclass(frozen=True, slots=True)
class Naming:
    """Names of one directory changed. None: the name is gone. made_directory: a new, empty one."""

    inode: int
    changes: tuple[tuple[str, int | None], ...]
    made_directory: int | None = None


Effect = Overlay | Truncation | Extension | Naming


@dataclass(frozen=True, slots=True)
class Sync:
    """A file or directory was made durable; or it failed, and the kernel forgot what to write."""

    inode: int
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Crash:
    """One state that a crash can leave. name: says which, so that it can be looked at alone.

    image: what is durable. pending: what everybody sees besides, and a later power cut may still
    take: a process that is killed leaves its unsynced effects behind.
    """

    name: str
    image: Image
    pending: tuple[Effect, ...] = ()

    @property
    def seen(self) -> Image:
        """What everybody sees after the crash."""
        return applied(self.image, self.pending)

    def fingerprint(self) -> tuple[object, ...]:
        return self.image.fingerprint(), self.seen.fingerprint(), self.pending


def applied(image: Image, effects: Sequence[Effect]) -> Image:
    """The image with effects in order."""
    contents = dict(image.contents)
    directories = dict(image.directories)
    for effect in effects:
        match effect:
            case Overlay(inode, start, count, extents):
                contents[inode] = contents.get(inode, Content()).overlaid(start, count, extents)
            case Truncation(inode, size):
                contents[inode] = contents.get(inode, Content()).truncated(size)
            case Extension(inode, size):
                content = contents.get(inode, Content())
                contents[inode] = content.truncated(max(content.size, size))
            case Naming(inode, changes, made):
                if made is not None:
                    directories.setdefault(made, {})
                names = dict(directories.get(inode, {}))
                for name, target in changes:
                    if target is None:
                        names.pop(name, None)
                    else:
                        names[name] = target
                directories[inode] = names
    return Image(directories, contents)


def inodes_of(image: Image, pending: Sequence[Effect]) -> Iterator[int]:
    """Every inode there is, or may be again after a power cut."""
    yield ROOT
    yield from image.contents
    for inode, names in image.directories.items():
        yield inode
        yield from names.values()
    for effect in pending:
        yield effect.inode
        if isinstance(effect, Naming):
            yield from (target for _, target in effect.changes if target is not None)


@dataclass(slots=True)
class _Pending:
    """An effect that was not synced; or was, behind one of the same file that never can be."""

    number: int
    effect: Effect
    settled: bool = False
    forgotten: bool = False


def crashes(
    base: Image,
    log: Sequence[Effect | Sync],
    *,
    after: int = 0,
    subsets_max: int = 256,
    seed: int = 0,
    coarse: bool = False,
) -> Iterator[Crash]:
    """Enumerate what crashes at any point of `log` leave. base: durable when it began.

    after: leave out crashes at the first so many entries (they happened before what is examined).
    coarse: tear writes in one place only.
    subsets_max: up to so many sets of lost effects are tried at each point of time. Where there are
    more, the notable ones come first (one lost, one left, all from some point on), then samples.
    """
    durable = base
    pending: list[_Pending] = []
    chance = random.Random(seed)
    if not after:
        yield Crash("kill@0", base)
    for number, entry in enumerate(log, 1):
        if isinstance(entry, Sync):
            durable, pending = _synced(durable, pending, entry)
            continue
        if number > after:
            torn_at = _torn_at(entry, coarse) if isinstance(entry, Overlay) else []
            yield from _at(durable, pending, number, entry, torn_at, subsets_max, chance)
        pending.append(_Pending(number, entry))


def _at(
    durable: Image,
    pending: Sequence[_Pending],
    number: int,
    entry: Effect,
    torn_at: Sequence[int],
    subsets_max: int,
    chance: random.Random,
) -> Iterator[Crash]:
    """What a crash leaves right after one effect, which is there at least in part.

    States without it were those of the moment before.
    """
    earlier = tuple(item.effect for item in pending)
    yield Crash(f"kill@{number}", durable, (*earlier, entry))
    settled = [item.effect for item in pending if item.settled]
    if isinstance(entry, Overlay):
        for count in torn_at:
            torn = entry.torn(count)
            yield Crash(f"torn@{number}:{count}", durable, (*earlier, torn))
            yield Crash(f"torn@{number}:{count}:alone", applied(durable, [*settled, torn]))
    for lost, effects in _cuts(pending, subsets_max, chance):
        yield Crash(f"cut@{number}:{lost}", applied(durable, [*effects, entry]))


def crashes_at_end(
    base: Image, log: Sequence[Effect | Sync], *, subsets_max: int = 256, seed: int = 0
) -> Iterator[Crash]:
    """Enumerate what a crash leaves when all of `log` has happened and nothing since."""
    durable = base
    pending: list[_Pending] = []
    for number, entry in enumerate(log, 1):
        if isinstance(entry, Sync):
            durable, pending = _synced(durable, pending, entry)
        else:
            pending.append(_Pending(number, entry))
    yield Crash("kill@end", durable, tuple(item.effect for item in pending))
    for lost, effects in _cuts(pending, subsets_max, random.Random(seed)):
        yield Crash(f"cut@end:{lost}", applied(durable, effects))


def _cuts(
    pending: Sequence[_Pending], subsets_max: int, chance: random.Random
) -> Iterator[tuple[str, list[Effect]]]:
    """Which pending effects are left after a power cut, with a name for those that are lost."""
    numbers = [item.number for item in pending if not item.settled]
    for lost in _subsets(numbers, subsets_max, chance):
        name = f"lost={','.join(map(str, sorted(lost)))}"
        kept = [item.effect for item in pending if item.number not in lost]
        yield name, kept
        hollow: list[Effect] = []
        for item in pending:
            if item.number not in lost:
                hollow.append(item.effect)
            elif isinstance(item.effect, Overlay):
                hollow.append(item.effect.zeroed())
        if len(hollow) > len(kept):
            yield f"{name}:zeroed", hollow


def _synced(durable: Image, pending: list[_Pending], sync: Sync) -> tuple[Image, list[_Pending]]:
    """Fold into the durable image what a sync made so; order within a file is kept."""
    for item in pending:
        if item.effect.inode == sync.inode and not item.settled:
            if sync.failed:
                item.forgotten = True
            else:
                item.settled = not item.forgotten
    folded, left = [], []
    unsettled: set[int] = set()
    for item in pending:
        if item.settled and item.effect.inode not in unsettled:
            folded.append(item.effect)
        else:
            unsettled.add(item.effect.inode)
            left.append(item)
    return applied(durable, folded), left


def _torn_at(overlay: Overlay, coarse: bool) -> list[int]:
    """Where a write is torn: 1 byte, half, all but one, and at sector edges; or at half only."""
    first_edge = -overlay.start % _TORN_EDGE or _TORN_EDGE
    stop = overlay.start + overlay.count
    last_edge = (stop - 1) // _TORN_EDGE * _TORN_EDGE - overlay.start
    places = {overlay.count // 2}
    if not coarse:
        places |= {1, overlay.count - 1, first_edge, last_edge}
    return sorted(place for place in places if 0 < place < overlay.count)


def _subsets(
    numbers: Sequence[int], subsets_max: int, chance: random.Random
) -> Iterator[frozenset[int]]:
    """Sets of effects to lose, the empty one left out."""
    if 2 ** len(numbers) <= subsets_max:
        for count in range(1, len(numbers) + 1):
            yield from map(frozenset, itertools.combinations(numbers, count))
        return
    everything = frozenset(numbers)
    notable = {frozenset({number}) for number in numbers}
    notable.update(everything - {number} for number in numbers)
    # Effects are written out roughly in order: all from some point on are lost.
    notable.update(frozenset(numbers[start:]) for start in range(1, len(numbers)))
    notable.discard(everything)
    chosen = {everything}
    chosen.update(
        chance.sample(sorted(notable, key=sorted), min(len(notable), max(subsets_max - 1, 1)))
    )
    while len(chosen) < subsets_max:
        chosen.add(frozenset(number for number in numbers if chance.random() < 0.5) or everything)
    yield from sorted(chosen, key=sorted)
