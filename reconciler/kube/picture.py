"""All objects as last seen, from lists and from single notices that may come in any order. Pure.

A list says what there was at one version, and so what there was not; a notice says that one object
is newer, or gone. Whatever arrives late never undoes what is newer. Before each kind was listed
once, the picture is not whole: an object that is not in it may only not have been seen yet.
"""

from collections.abc import Collection, Iterable

from reconciler.desired.document import Identity
from reconciler.kube.objects import Raw, identity_of, lean, version_of

Part = tuple[str, str | None]
"""What is listed at once: a kind, and its namespace (None: all of them)."""


class Picture:
    """parts: what must have been listed for the picture to be whole."""

    def __init__(self, parts: Collection[Part]) -> None:
        self._unlisted = set(parts)
        self._objects: dict[Identity, Raw] = {}
        self._gone: dict[Identity, int] = {}  # at which version, until a list says so, too

    @property
    def whole(self) -> bool:
        return not self._unlisted

    def objects(self) -> dict[Identity, Raw]:
        """Return all that is there now; the caller's to keep."""
        return dict(self._objects)

    def take(self, raw: Raw) -> bool:
        """Take one version of an object; say whether it was news."""
        identity, version = identity_of(raw), version_of(raw)
        known = self._objects.get(identity)
        if known is not None and version_of(known) >= version:
            return False
        if self._gone.get(identity, -1) >= version:
            return False
        self._objects[identity] = lean(raw)
        return True

    def take_gone(self, raw: Raw) -> bool:
        """Take an object's last version; say whether it was news that it is gone."""
        identity, version = identity_of(raw), version_of(raw)
        self._gone[identity] = max(version, self._gone.get(identity, -1))
        known = self._objects.get(identity)
        if known is None or version_of(known) > version:
            return False
        del self._objects[identity]
        return True

    def as_held(self, raw: Raw) -> Raw:
        """Return an object as it is held, or would be: what is known already is no second one."""
        known = self._objects.get(identity_of(raw))
        return lean(raw) if known is None or version_of(known) != version_of(raw) else known

    def lose(self, identity: Identity) -> bool:
        """Take it that an object is not there; say whether that was news."""
        return self._objects.pop(identity, None) is not None

    def take_list(self, part: Part, items: Iterable[Raw], version: int) -> bool:
        """Take all that there was of a part at `version`; say whether anything was news."""
        news = part in self._unlisted
        self._unlisted.discard(part)
        listed = set()
        for raw in items:
            listed.add(identity_of(raw))
            news |= self.take(raw)
        for identity, raw in list(self._objects.items()):
            if identity in listed or not _is_of(identity, part):
                continue
            if version_of(raw) <= version:
                del self._objects[identity]
                news = True
        for identity, gone in list(self._gone.items()):
            if _is_of(identity, part) and gone <= version:
                del self._gone[identity]
        return news


def _is_of(identity: Identity, part: Part) -> bool:
    kind, namespace = part
    return identity.kind == kind and namespace in (None, identity.namespace)
