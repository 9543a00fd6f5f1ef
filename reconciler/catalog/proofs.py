"""Notes of what reading points whole has shown: `.reconciler/proofs/<vm>/<job>.json`, one each.

They lie beside Xen Orchestra's tree, not in it, and nothing hangs on them: where one is missing or
makes no sense, the points are read again. So they are written whole, without a lock, by the one
action that verifies a VM's points of a job. Whoever can write to the remote can write them: they
are bounded, and a path in them is only compared with those that were found.
"""

import json
from collections.abc import Collection
from datetime import UTC
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from reconciler.catalog.layout import parse_vm
from reconciler.ids import STAMP, UUID, JobId, Stamp, VmUuid
from reconciler.observed.proof import Damage, Proof, ProofLevel, ProofNote, ProofNotes
from reconciler.remotes.errors import Missing, TooLarge
from reconciler.remotes.remote import Remote

PROOFS = ".reconciler/proofs"
NOTE_BYTES_MAX = 256 * 1024
DAMAGES_MAX = 100
"""Of one job and VM: the newest. After the first, the next point is a full."""
_JOBS_MAX = 64
_NOTE = ".json"

Text = Annotated[str, Field(max_length=1000)]
Instant = Annotated[AwareDatetime, AfterValidator(lambda at: at.astimezone(UTC))]
Size = Annotated[int, Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class _Proof(_Model):
    level: ProofLevel
    stamp: Annotated[str, Field(pattern=f"^{STAMP.pattern}$")]
    at: Instant
    bytes_: Annotated[Size, Field(alias="bytes")] = 0


class _Damage(_Model):
    path: Text
    why: Text
    at: Instant
    size: Size
    modified: int


class _Note(_Model):
    version: Literal[1] = 1
    proof: _Proof | None = None
    damages: Annotated[list[_Damage], Field(max_length=DAMAGES_MAX)] = []


def note_key(vm: VmUuid, job: JobId) -> str:
    return f"{PROOFS}/{vm}/{job}{_NOTE}"


async def list_noted(remote: Remote) -> set[VmUuid]:
    """List the VMs of which anything is noted. Raises RemoteError."""
    try:
        entries = await remote.list(PROOFS)
    except Missing:
        return set()
    vms = (parse_vm(entry.name) for entry in entries if entry.stat.is_directory)
    return {vm for vm in vms if vm is not None}


async def read_notes(remote: Remote, vm: VmUuid) -> ProofNotes:
    """Read what is noted of a VM. Raises RemoteError: then nobody knows."""
    try:
        entries = await remote.list(f"{PROOFS}/{vm}")
    except Missing:
        return ProofNotes()
    jobs = [
        JobId(entry.name.removesuffix(_NOTE))
        for entry in entries
        if entry.stat.is_regular and entry.name.endswith(_NOTE)
    ]
    named = [job for job in jobs if UUID.fullmatch(job)][:_JOBS_MAX]
    return ProofNotes({job: await _read(remote, vm, job) for job in named})


async def note_proof(
    remote: Remote, vm: VmUuid, job: JobId, proof: Proof, sound: Collection[str]
) -> None:
    """Note that a point was read whole. sound: paths of the files that it was read from, of which
    nothing bad is known any more. Durable on return. Raises RemoteError.
    """
    before = await _read(remote, vm, job)
    left = tuple(each for each in before.damages if each.path not in sound)
    await remote.put(note_key(vm, job), _render(ProofNote(proof, left)))


async def note_damage(remote: Remote, vm: VmUuid, job: JobId, damage: Damage) -> None:
    """Note that a file is damaged; what was proven before stays so. Raises RemoteError."""
    before = await _read(remote, vm, job)
    others = [each for each in before.damages if each.path != damage.path]
    kept = (*others, damage)[-DAMAGES_MAX:]
    await remote.put(note_key(vm, job), _render(ProofNote(before.proof, kept)))


async def _read(remote: Remote, vm: VmUuid, job: JobId) -> ProofNote:
    try:
        content = await remote.get(note_key(vm, job), NOTE_BYTES_MAX)
    except (Missing, TooLarge):
        return ProofNote()
    return _parse(content)


def _parse(content: bytes) -> ProofNote:
    """Parse a note; one that makes no sense says nothing."""
    try:
        note = _Note.model_validate_json(content)
    except ValidationError:
        return ProofNote()
    said = note.proof
    return ProofNote(
        None if said is None else Proof(said.level, Stamp(said.stamp), said.at, said.bytes_),
        tuple(Damage(d.path, d.why, d.at, d.size, d.modified) for d in note.damages),
    )


def _render(note: ProofNote) -> bytes:
    proof = note.proof
    content = _Note(
        proof=None
        if proof is None
        else _Proof(level=proof.level, stamp=proof.stamp, at=proof.at, bytes_=proof.read_bytes),
        damages=[
            _Damage(
                path=each.path,
                why=each.why[:1000],
                at=each.at,
                size=each.size_bytes,
                modified=each.mtime_ns,
            )
            for each in note.damages
        ],
    )
    return json.dumps(content.model_dump(mode="json", by_alias=True), indent=1).encode()
