"""Which pools and remotes a person wants looked at again: an annotation of theirs, or a job's."""

from collections.abc import Iterator, Mapping

from reconciler.desired.clashes import Value
from reconciler.desired.document import Identity
from reconciler.desired.fitting import needs_of
from reconciler.desired.manifest import POOL, REMOTE, Manifest
from reconciler.desired.state import Look
from reconciler.ids import PoolName, RemoteName


def looks_of(
    manifests: Mapping[Identity, Manifest], in_force: Mapping[Identity, Value]
) -> Iterator[Look]:
    """Return a wish for each manifest that has one, for what it is or names."""
    for identity, manifest in sorted(manifests.items()):
        if manifest.look is None:
            continue
        meant = [identity, *needs_of(identity, in_force[identity])]
        yield Look(
            manifest.look,
            frozenset(PoolName(each.full_name) for each in meant if each.kind == POOL),
            frozenset(RemoteName(each.full_name) for each in meant if each.kind == REMOTE),
        )
