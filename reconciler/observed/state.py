"""Everything that was seen, in one value: the second argument of the planner."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.ids import PoolName, RemoteName
from reconciler.observed.pool import PoolView
from reconciler.observed.progress import Progress
from reconciler.observed.remote import RemoteView
from reconciler.observed.unknown import Unknown


@dataclass(frozen=True, slots=True)
class Observed:
    """The world at one look. A pool or remote that is not a key has not been looked at yet."""

    pools: Mapping[PoolName, PoolView | Unknown] = field(default_factory=dict)
    remotes: Mapping[RemoteName, RemoteView | Unknown] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
