"""Which VMs a job protects, as a pure test on what a VM is called and how it stands.

Each field that is given narrows the choice, and within a field any entry is enough: `names` and
`tags` together mean "called like this *and* tagged like that". Names are globs (`*`, `?`, `[…]`),
compared with upper and lower case; uuids and tags are compared whole. Exclusions win over all.

VMs tagged `xo:no-bak`, or `xo:no-bak=reason`, are left out as Xen Orchestra does: by every choice
but one, a VM that `uuids` names. Its owner's tag speaks to rules; a uuid was written for this VM.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase

NO_BACKUP_TAG = "xo:no-bak"


@dataclass(frozen=True, slots=True)
class Selector:
    """A choice of VMs; with no field given it chooses none.

    tags, exclude_tags: any of them. power_states: as XAPI says them ("Running", "Halted" …).
    all: every VM, before exclusions and the other fields narrow it.
    """

    uuids: frozenset[str] = frozenset()
    names: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    power_states: frozenset[str] = frozenset()
    exclude_uuids: frozenset[str] = frozenset()
    exclude_names: tuple[str, ...] = ()
    exclude_tags: frozenset[str] = frozenset()
    all: bool = False

    def matches(self, uuid: str, name: str, tags: frozenset[str], power_state: str) -> bool:
        """Say whether this VM is chosen."""
        return self._chosen(uuid, name, tags, power_state) and not (
            uuid in self.exclude_uuids
            or not self.exclude_tags.isdisjoint(tags)
            or any(fnmatchcase(name, pattern) for pattern in self.exclude_names)
            or (uuid not in self.uuids and any(_declines_backup(tag) for tag in tags))
        )

    def _chosen(self, uuid: str, name: str, tags: frozenset[str], power_state: str) -> bool:
        if not (self.all or self.uuids or self.names or self.tags or self.power_states):
            return False
        return (
            (not self.uuids or uuid in self.uuids)
            and (not self.tags or not self.tags.isdisjoint(tags))
            and (not self.power_states or power_state in self.power_states)
            and (not self.names or any(fnmatchcase(name, pattern) for pattern in self.names))
        )


def _declines_backup(tag: str) -> bool:
    return tag == NO_BACKUP_TAG or tag.startswith(f"{NO_BACKUP_TAG}=")
