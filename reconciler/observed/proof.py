"""What reading restore points whole has shown: that they can be restored, or what is damaged."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from reconciler.ids import JobId, Stamp


class ProofLevel(StrEnum):
    """How much of a restore a proof has tried."""

    CHAIN = "Chain"  # every file of the point was found and linked, and every block of it read
    CHECKSUM = "Checksum"  # and what was read is what had been written


@dataclass(frozen=True, slots=True)
class Proof:
    """That the point of one VM at one instant could be read whole. at: when the reading ended, UTC.

    read_bytes: of its disks or its archive. It stays true of that moment when the point has gone.
    """

    level: ProofLevel
    stamp: Stamp
    at: datetime
    read_bytes: int


@dataclass(frozen=True, slots=True)
class Damage:
    """That a file is not what was written. path: in the VM's directory.

    size_bytes, mtime_ns: of the file that was read; of another one under its name nothing is known.
    """

    path: str
    why: str
    at: datetime
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class ProofNote:
    """All that is noted of one VM's points of one job on one remote."""

    proof: Proof | None = None
    damages: tuple[Damage, ...] = ()


@dataclass(frozen=True, slots=True)
class ProofNotes:
    """Of one VM on one remote. damages: by path, of all its jobs."""

    by_job: Mapping[JobId, ProofNote] = field(default_factory=dict)

    @property
    def proofs(self) -> dict[JobId, Proof]:
        return {job: note.proof for job, note in self.by_job.items() if note.proof is not None}

    @property
    def damages(self) -> dict[str, Damage]:
        return {each.path: each for note in self.by_job.values() for each in note.damages}
