"""What a manifest may say in a cluster and nobody can follow where manifests are files.

Such a manifest is right, and may stand in the repository that a cluster is fed from: so it is a
warning here, and a failure only where what it asks for is needed.
"""

from collections.abc import Iterator

from reconciler.desired.document import (
    Document,
    MappingNode,
    Node,
    Path,
    ScalarNode,
    SequenceNode,
    spell,
)
from reconciler.desired.envelope import GROUP
from reconciler.desired.problems import Problem


def kubernetes_secrets(document: Document) -> Iterator[Problem]:
    """Warn of each secret that one of our objects has in Kubernetes."""
    version = document.node(("apiVersion",))
    if isinstance(version, ScalarNode) and str(version.value).startswith(f"{GROUP}/"):
        for path in _references(document.node(("spec",)), ("spec",)):
            yield document.problem(
                path,
                f"{spell(path)}: there are no Kubernetes secrets where manifests are files",
                "use env or file",
                key=True,
            )


def _references(node: Node | None, path: Path) -> Iterator[Path]:
    match node:
        case MappingNode(entries):
            for entry in entries:
                inner = (*path, entry.key)
                if entry.key == "secretRef" and isinstance(entry.value, MappingNode):
                    yield inner
                else:
                    yield from _references(entry.value, inner)
        case SequenceNode(items):
            for index, item in enumerate(items):
                yield from _references(item, (*path, index))
        case _:
            pass
