"""The state file of a merge in place: Xen Orchestra's own, so that each can finish the other's.

It lies beside the files, `.<oldest file's name>.merge.json`, and is there from before the oldest
file (the target) is first touched until after it has taken its new name:

    step          what it says
    mergeBlocks   the target may hold any mixture; the newer files are whole
    cleanup       the target holds everything and carries the newest file's identity

Xen Orchestra writes it in place and unsynced, so after a crash it may be empty or cut off. Then
the fact that it is there still says `mergeBlocks`. Ours is put whole and durable.

Knows the file's fields; never acts on them.
"""

import json
from dataclasses import dataclass
from enum import StrEnum

from reconciler.remotes.errors import Missing
from reconciler.remotes.remote import Remote

_BYTES_MAX = 1024 * 1024
_VERSION = 1


class Step(StrEnum):
    BLOCKS = "mergeBlocks"
    CLEANUP = "cleanup"


@dataclass(frozen=True, slots=True)
class MergeJournal:
    """chain: names of files in the journal's directory, oldest first, the newest last.

    Empty if the journal cannot be read: then nothing is known but that a merge was begun.
    target_uuid, newest_uuid: what the footers said before the merge.
    disk_bytes: size of the result, 0 while it is not known. data: in block mode, names of the
    directories in `data` that nobody needs when the merge is done; of our own merges only.
    """

    chain: tuple[str, ...]
    target_uuid: str
    newest_uuid: str
    step: Step
    disk_bytes: int = 0
    data: tuple[str, ...] = ()

    def render(self) -> bytes:
        """Render as Xen Orchestra does; `reconciler` is ours, and no other needs it."""
        fields = {
            "child": {"uuid": self.newest_uuid},
            "parent": {"uuid": self.target_uuid},
            "chain": list(self.chain),
            # A lower bound: blocks below it are merged. Always true, and what is merged again
            # is the same again.
            "currentBlock": 0,
            "mergedDataSize": 0,
            "step": self.step.value,
            "diskSize": self.disk_bytes,
            "reconciler": {"version": _VERSION, "data": list(self.data)},
        }
        return json.dumps(fields).encode()

    @classmethod
    def parse(cls, content: bytes) -> "MergeJournal":
        """Parse any bytes; what makes no sense gives a journal without a chain."""
        unreadable = cls((), "", "", Step.BLOCKS)
        try:
            fields: object = json.loads(content)
        except (ValueError, RecursionError):
            return unreadable
        if not isinstance(fields, dict):
            return unreadable
        chain = fields.get("chain")
        if not isinstance(chain, list) or len(chain) < 2 or not all(map(_is_file_name, chain)):
            return unreadable
        # Versions of Xen Orchestra up to 6.1 called the last step cleanupVhds.
        cleanup = fields.get("step") in (Step.CLEANUP.value, "cleanupVhds")
        return cls(
            chain=tuple(chain),
            target_uuid=_uuid_in(fields.get("parent")),
            newest_uuid=_uuid_in(fields.get("child")),
            step=Step.CLEANUP if cleanup else Step.BLOCKS,
            data=_data_in(fields.get("reconciler")),
        )


def journal_key_of(target_key: str) -> str:
    """Name the journal of merges into a file."""
    directory, slash, name = target_key.rpartition("/")
    return f"{directory}{slash}.{name}.merge.json"


async def read_journal(remote: Remote, journal_key: str) -> MergeJournal | None:
    """Read a journal; None if there is none. Raises RemoteError if that cannot be told."""
    try:
        return MergeJournal.parse(await remote.get(journal_key, _BYTES_MAX))
    except Missing:
        return None


def _is_file_name(value: object) -> bool:
    return (
        isinstance(value, str)
        and value not in ("", ".", "..")
        and not any(character in value for character in "/\\\0")
    )


def _data_in(ours: object) -> tuple[str, ...]:
    names = ours.get("data") if isinstance(ours, dict) else None
    if not isinstance(names, list) or not all(map(_is_file_name, names)):
        return ()
    return tuple(name for name in names if name.endswith(".vhd"))


def _uuid_in(value: object) -> str:
    uuid = value.get("uuid") if isinstance(value, dict) else None
    return uuid if isinstance(uuid, str) else ""
