"""What an object's manifest refers to, by kind: read from the document, so that no mistake in it
hides another."""

from collections.abc import Sequence

from reconciler.desired.document import Document, Path, ScalarNode
from reconciler.desired.job_checks import (
    NameRead,
    pool_references,
    remote_references,
    sr_pool_references,
)
from reconciler.desired.manifest import JOB, POOL, REMOTE, RESTORE, RUN

_REFERENCES: dict[str, tuple[tuple[str, Path], ...]] = {
    RESTORE: (
        (POOL, ("spec", "target", "poolRef", "name")),
        (REMOTE, ("spec", "source", "remoteRef", "name")),
    ),
    RUN: ((JOB, ("spec", "jobRef", "name")),),
}

Referred = tuple[str, NameRead]
"""The kind of what is referred to, its name and where that stands."""


def references_of(kind: str, document: Document) -> Sequence[Referred]:
    """Return all references of an object of this kind."""
    if kind == JOB:
        return [
            *((POOL, read) for read in pool_references(document)),
            *((POOL, read) for read in sr_pool_references(document)),
            *((REMOTE, read) for read in remote_references(document)),
        ]
    return [
        (named, NameRead(name, path))
        for named, path in _REFERENCES.get(kind, ())
        if isinstance(node := document.node(path), ScalarNode)
        and isinstance(name := node.value, str)
    ]
