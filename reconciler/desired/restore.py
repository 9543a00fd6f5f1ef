"""Kind Restore: one restore point, made a new VM, once."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from reconciler.desired.document import Document, Identity
from reconciler.desired.envelope import Fields, Instant, Reference, Text, Uuid
from reconciler.desired.identities import restore_id
from reconciler.desired.rules import Rule, matches, one_of, text_schema
from reconciler.desired.state import MacAddresses, NetworkChoice, Restore
from reconciler.ids import STAMP, PoolName, RemoteName, RestoreName, Stamp, instant_of

LATEST = "latest"
_NO_POINT = f"must be {LATEST}, or a stamp such as 20260131T020000Z"
_TWO_POINTS = f"has asOf beside a point; asOf is for point: {LATEST}"


def _point(text: str) -> str:
    try:
        if text != LATEST:
            instant_of(Stamp(text))
    except ValueError:
        raise ValueError(_NO_POINT) from None
    return text


class Named(Fields):
    """By uuid or by name; exactly one of the two."""

    uuid: Uuid | None = Field(None, description="Its uuid.")
    name: Text | None = Field(None, description="Its name, which no other has.")

    renamed: ClassVar[Mapping[str, str]] = {"nameLabel": "name", "id": "uuid"}
    rules: ClassVar[tuple[Rule, ...]] = (one_of("uuid", "name"),)

    @model_validator(mode="after")
    def _exactly_one(self) -> "Named":
        if (self.uuid is None) == (self.name is None):
            raise ValueError("must have exactly one of uuid and name")
        return self

    @property
    def word(self) -> str:
        return self.uuid or self.name or ""


class RestoreSource(Fields):
    """Which restore point."""

    vm: Named = Field(
        description="The VM as it was backed up; exactly one of uuid and name. It need not be"
        " there any more."
    )
    point: Annotated[
        str,
        AfterValidator(_point),
        text_schema(matches(f"{LATEST}|{STAMP.pattern}", _NO_POINT), longest=32),
    ] = Field(
        LATEST,
        description="The stamp of a point, as get points shows it; or latest: the newest there is"
        " when the restore begins.",
    )
    as_of: Instant | None = Field(
        None, description="With latest: the newest point that is not after this time."
    )
    remote_ref: Reference | None = Field(
        None, description="Take it from this remote. Absent: from any that has it."
    )

    renamed: ClassVar[Mapping[str, str]] = {
        "remote": "remoteRef",
        "preferRemotes": "remoteRef",
        "pointRef": "point",
        "stamp": "point",
    }
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(f"!has(self.asOf) || self.point == '{LATEST}'", _TWO_POINTS),
    )

    @model_validator(mode="after")
    def _one_choice(self) -> "RestoreSource":
        if self.as_of is not None and self.point != LATEST:
            raise ValueError(_TWO_POINTS)
        return self


class NetworkMapping(Fields):
    """Interfaces that were on one network come to another."""

    from_: Text = Field(
        alias="from", description="Name or uuid of the network it was on; * for all others."
    )
    to: Text = Field(description="Name or uuid of a network of the target's pool.")


class RestoreTarget(Fields):
    """Where to, and as what. Always a new VM: none that is there is changed."""

    pool_ref: Reference = Field(description="The XenPool that it comes to.")
    sr: Named | None = Field(
        None, description="For its disks; exactly one of uuid and name. Absent: the pool's default."
    )
    networks: tuple[NetworkMapping, ...] = Field(
        (),
        max_length=64,
        description="Other networks than those it was on. Unmentioned: the one of the same uuid,"
        " else of the same name; where there is none, the interface is left out. Not for archives"
        " (mode Full).",
    )
    mac: Literal["Keep", "New"] = Field(
        "Keep",
        description="Keep: the network addresses it had, unless the VM they are of is still on"
        " the pool. New: always others. Archives (mode Full) always get others.",
    )
    name: Text | None = Field(
        None, description="Of the new VM. Absent: the old name with the stamp."
    )
    start: bool = Field(False, description="Start the new VM once it is whole.")

    renamed: ClassVar[Mapping[str, str]] = {
        "pool": "poolRef",
        "srRef": "sr",
        "srMap": "sr",
        "networkMap": "networks",
        "nameTemplate": "name",
        "vmName": "name",
    }


class RestoreSpec(Fields):
    """One restore point, made a new VM, once. Whatever becomes of that VM, it is not made again."""

    source: RestoreSource
    target: RestoreTarget
    suspend: bool = Field(False, description="Do not begin; what runs, ends.")

    renamed: ClassVar[Mapping[str, str]] = {"start": "target.start", "paused": "suspend"}
    later: ClassVar[Mapping[str, str]] = {
        "mode": "a restore makes a new VM",
        "disks": "a restore makes the whole VM; one disk goes to a file: reconciler restore --disk",
        "dryRun": "see: reconciler plan",
        "ttlAfterFinished": "remove the VM yourself; the restore is not done again",
    }
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.source == oldSelf.source && self.target == oldSelf.target",
            "a restore is not changed, but for suspend; make another one",
        ),
    )

    def restore(self, identity: Identity, document: Document) -> Restore:
        """Resolve to the planner's restore; references become full names, unchecked."""
        source, target = self.source, self.target
        meaning = self.model_dump_json(by_alias=True, exclude_defaults=True, exclude={"suspend"})
        remote = source.remote_ref
        return Restore(
            name=RestoreName(identity.full_name),
            id=restore_id(identity, document.uid),
            vm=source.vm.word,
            stamp=None if source.point == LATEST else Stamp(source.point),
            as_of=source.as_of,
            remote=None if remote is None else RemoteName(identity.sibling(remote.name)),
            pool=PoolName(identity.sibling(target.pool_ref.name)),
            sr=None if target.sr is None else target.sr.word,
            networks=tuple(NetworkChoice(one.from_, one.to) for one in target.networks),
            mac=MacAddresses(target.mac),
            vm_name=target.name,
            start=target.start,
            suspend=self.suspend,
            asked_at=document.created_at,
            revision=hashlib.blake2b(meaning.encode(), digest_size=6).hexdigest(),
        )
