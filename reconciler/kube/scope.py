"""Where objects are looked for: kinds, and namespaces. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from reconciler.kube.picture import Part


@dataclass(frozen=True, slots=True)
class Scope:
    """namespaces: none means all of the cluster."""

    kinds: tuple[str, ...]
    namespaces: tuple[str, ...] = ()
    parts: tuple[Part, ...] = field(init=False)

    def __post_init__(self) -> None:
        places: Sequence[str | None] = self.namespaces or (None,)
        parts = tuple((kind, place) for kind in self.kinds for place in places)
        object.__setattr__(self, "parts", parts)
