"""What each disk file of a VM on a remote is there for: the answer that `files.py` works out."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.observed.chain import Chains, DiskFile


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one VM on one remote, sorted (see files.py for the words).

    carrying, garbage: paths, in order; the former with the paths of the files that stand on each.
    quarantined, merging: directories that hold a broken file, or a begun merge.
    """

    chains: Chains
    carrying: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    garbage: tuple[str, ...] = ()
    quarantined: frozenset[str] = frozenset()
    merging: frozenset[str] = frozenset()
    _tips: dict[str, DiskFile | None] = field(default_factory=dict, repr=False, compare=False)

    def tip(self, directory: str) -> DiskFile | None:
        """Return the newest file of a disk's directory that is not garbage, None if there is none.

        Only this one may be stood on: each file has at most one above it.
        """
        if directory not in self._tips:
            prefix = directory + "/"
            kept = [path for path in self.chains.files if path.startswith(prefix)]
            if self.garbage:
                kept = [path for path in kept if path not in self.garbage]
            self._tips[directory] = self.chains.files[max(kept)] if kept else None
        return self._tips[directory]
