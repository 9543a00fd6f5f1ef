"""Where a job's restore points go: remotes by reference, SRs by uuid or name."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field, model_validator

from reconciler.desired.document import Identity
from reconciler.desired.envelope import Fields, Reference, Text, Uuid
from reconciler.desired.rules import Rule, one_of
from reconciler.desired.state import Destination, SrTarget
from reconciler.ids import PoolName, RemoteName


class SrReference(Fields):
    """A storage repository; exactly one of uuid and name."""

    uuid: Uuid | None = Field(None, description="Its uuid: it is of one pool.")
    name: Text | None = Field(None, description="As the pool calls it; no other SR is called so.")
    pool_ref: Reference | None = Field(
        None, description="Its pool; without one, the pool of the VM that is replicated."
    )

    renamed: ClassVar[Mapping[str, str]] = {
        "nameLabel": "name",
        "id": "uuid",
        "pool": "poolRef",
        "sr": "uuid",
    }
    rules: ClassVar[tuple[Rule, ...]] = (one_of("uuid", "name"),)

    @model_validator(mode="after")
    def _exactly_one(self) -> "SrReference":
        if (self.uuid is None) == (self.name is None):
            raise ValueError("must have exactly one of uuid and name")
        return self

    def target(self, owner: Identity) -> SrTarget:
        pool = PoolName(owner.sibling(self.pool_ref.name)) if self.pool_ref else None
        return SrTarget(self.uuid or self.name or "", pool)


class TargetSpec(Fields):
    """Where to: a remote for restore points, or an SR for replicas."""

    name: Text | None = Field(
        None, description="How schedules call it; otherwise as its remote or SR is called here."
    )
    remote_ref: Reference | None = Field(
        None, description="A BackupRemote, for restore points that are files."
    )
    sr_ref: SrReference | None = Field(
        None, description="An SR, for replicas; exactly one of uuid and name."
    )

    renamed: ClassVar[Mapping[str, str]] = {
        "remote": "remoteRef",
        "ref": "remoteRef",
        "sr": "srRef",
        "srUuid": "srRef.uuid",
    }
    later: ClassVar[Mapping[str, str]] = {
        "retention": "retention belongs to a schedule, and holds on every target",
        "repairFrom": "remotes do not repair each other for now",
        "rpo": "objectives are not watched for now",
        "pruneBefore": "what is old goes once the new stands",
    }
    rules: ClassVar[tuple[Rule, ...]] = (one_of("remoteRef", "srRef"),)

    @model_validator(mode="after")
    def _exactly_one(self) -> "TargetSpec":
        if (self.remote_ref is None) == (self.sr_ref is None):
            raise ValueError("must have exactly one of remoteRef and srRef")
        return self

    @property
    def called(self) -> str:
        """The name under which schedules find it."""
        if self.name is not None:
            return self.name
        if self.remote_ref is not None:
            return self.remote_ref.name
        assert self.sr_ref is not None, "the target was checked"
        return self.sr_ref.name or self.sr_ref.uuid or ""

    def destination(self, owner: Identity) -> Destination:
        """The destination, as a job of this identity means it."""
        if self.remote_ref is not None:
            return RemoteName(owner.sibling(self.remote_ref.name))
        assert self.sr_ref is not None, "the target was checked"
        return self.sr_ref.target(owner)


def destinations_of(
    targets: Sequence[TargetSpec], names: Sequence[str] | None, owner: Identity
) -> frozenset[Destination] | None:
    """Return the destinations of these names; None, all of them, for no list of names."""
    if names is None:
        return None
    return frozenset(one.destination(owner) for one in targets if one.called in names)
