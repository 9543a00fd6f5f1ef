"""The metadata of a restore point: one JSON file, in Xen Orchestra's fields.

A trust boundary: whoever can write to the remote can write this. So it is bounded, every path in
it must be of the one form that leads to a disk file of the same VM, and it must agree with the
name and the directory that it stands in. Fields that are not known are kept as they are.

Pure: bytes in, values out. Knows nothing of files; whether the disks are there is for read.py.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from reconciler.catalog.errors import MetadataInvalid
from reconciler.catalog.layout import DiskPath, archive_path, parse_disk_path
from reconciler.ids import (
    UUID,
    DiskSnapshotUuid,
    DiskUuid,
    JobId,
    ScheduleId,
    Stamp,
    VmUuid,
    instant_of,
    stamp_of,
)
from reconciler.observed.chain import PointDisk, PointKind, RestorePoint

METADATA_BYTES_MAX = 16 * 1024 * 1024
"""Of one point. Seen: 20 to 200 KiB; contents of virtual TPMs are the largest part."""

_VERSION = "2.0.0"
_MODES = ("delta", "full")
_DISKS_MAX = 1024
_POSITION = re.compile(r"[0-9]{1,4}")  # XAPI's userdevice of a disk
_TEXT_MAX = 4096
_OUR_KEY = "reconciler"

Record = dict[str, JsonValue]
Text = Annotated[str, Field(max_length=_TEXT_MAX)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class _Vdi(_Model):
    """The part of a VDI record that is read; the rest is kept."""

    uuid: Annotated[str, Field(pattern=f"^{UUID.pattern}$")]
    name_label: Text = ""
    virtual_size: int | float | str = 0


class _Vm(_Model):
    uuid: Text
    name_label: Text = ""


class _OurDisk(_Model):
    """A disk in an archive, as `PointDisk`. Nobody else lists them."""

    disk: Annotated[str, Field(pattern=f"^{UUID.pattern}$")]
    snapshot: Annotated[str, Field(pattern=f"^{UUID.pattern}$")]
    name: Text = ""
    size: Annotated[int, Field(ge=0)] = 0
    position: Annotated[str, Field(pattern=f"^({_POSITION.pattern})?$")] = ""


class _Ours(_Model):
    """What we add: the schedules a point answers, the revision of the job that made it, the disks
    in its archive, and how many points each disk's chain has had since its full was taken."""

    schedules: list[Text] = []
    revision: Text = ""
    since_full: Annotated[
        dict[Text, Annotated[int, Field(ge=0)]], Field(alias="sinceFull", max_length=_DISKS_MAX)
    ] = {}
    disks: Annotated[list[_OurDisk], Field(max_length=_DISKS_MAX)] = []


class PointMetadata(_Model):
    """A point's metadata. The aliases are Xen Orchestra's names. timestamp: milliseconds, UTC."""

    mode: Text
    job: Text = Field(alias="jobId")
    schedule: Text = Field(alias="scheduleId")
    timestamp: int | float
    vm: _Vm
    version: Text = _VERSION
    vhds: dict[Text, Text] = {}
    xva: Text | None = None
    vdis: dict[Text, _Vdi] = {}
    size: int | float | None = None
    differencing: dict[Text, bool] | None = Field(default=None, alias="isVhdDifferencing")
    ours: _Ours | None = Field(default=None, alias=_OUR_KEY)

    @classmethod
    def parse(cls, content: bytes) -> "PointMetadata":
        """Parse a file's bytes. Raises MetadataInvalid for anything that is not what it must be."""
        if len(content) > METADATA_BYTES_MAX:
            raise MetadataInvalid(f"more than {METADATA_BYTES_MAX} bytes")
        try:
            fields = json.loads(content, parse_constant=_refuse_constant, parse_float=_finite)
        except (ValueError, RecursionError) as error:
            raise MetadataInvalid(f"not JSON: {error}") from error
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise MetadataInvalid(f"{where or 'the whole'}: {first['msg']}") from error
        except RecursionError as error:
            raise MetadataInvalid("nested too deeply") from error

    def render(self) -> bytes:
        """Render as it is written: every field that was read, none that was not."""
        fields = self.model_dump(by_alias=True, exclude_unset=True)
        return json.dumps(fields, separators=(",", ":"), allow_nan=False).encode()

    @property
    def is_full(self) -> bool:
        """Whether it is of Xen Orchestra's full mode: one archive, no disk files."""
        return self.mode == "full"

    @property
    def stamp(self) -> Stamp:
        return stamp_of(self.taken_at)

    @property
    def taken_at(self) -> datetime:
        """Raises MetadataInvalid if the timestamp is of no calendar."""
        try:
            return datetime.fromtimestamp(self.timestamp / 1000, UTC)
        except (OverflowError, ValueError, OSError) as error:
            raise MetadataInvalid(f"timestamp: {self.timestamp!r} is no instant") from error

    def with_files(self, size_bytes: int, differencing: Mapping[str, bool]) -> "PointMetadata":
        """Say anew what the disk files are: bytes in all, and by reference which are deltas."""
        return self.model_copy(update={"size": size_bytes, "differencing": dict(differencing)})


@dataclass(frozen=True, slots=True)
class PointRecords:
    """XAPI's records of a VM as they go into metadata. All but vm and snapshot: by reference.

    vm: the live VM's; snapshot: the exported one's. vdis: of the exported disk snapshots. vtpms:
    contents of virtual TPMs, None where one could not be read.
    """

    vm: Mapping[str, JsonValue]
    snapshot: Mapping[str, JsonValue]
    vbds: Mapping[str, Mapping[str, JsonValue]]
    vdis: Mapping[str, Mapping[str, JsonValue]]
    vifs: Mapping[str, Mapping[str, JsonValue]]
    vtpms: list[str | None]


def compose(
    stamp: Stamp,
    job: JobId,
    schedules: tuple[ScheduleId, ...],
    revision: str,
    records: PointRecords,
    paths: Mapping[str, str],
    since_full: Mapping[DiskUuid, int] | None = None,
) -> PointMetadata:
    """Make the metadata of a new point. paths: of its disk files, by reference, as in `vdis`.

    since_full: as `PointDisk.since_full`, of the disks of which it is known.

    A point that was asked for by hand answers no schedule; Xen Orchestra wants one nevertheless,
    so the job's id stands there, which is no schedule of anybody's. Sizes come with `with_files`.
    Raises MetadataInvalid.
    """
    fields: dict[str, object] = {
        "includeNonNbdQcow2Fix": True,
        "jobId": job,
        "mode": "delta",
        "scheduleId": schedules[0] if schedules else job,
        "timestamp": int(instant_of(stamp).timestamp()) * 1000,
        "vbds": records.vbds,
        "vdis": {ref: records.vdis[ref] for ref in paths if ref in records.vdis},
        "version": _VERSION,
        "vifs": records.vifs,
        "vhds": dict(paths),
        "vm": records.vm,
        "vmSnapshot": records.snapshot,
        "vtpms": records.vtpms,
        _OUR_KEY: {
            "schedules": list(schedules),
            "revision": revision,
            "sinceFull": {str(disk): count for disk, count in (since_full or {}).items()},
        },
    }
    return PointMetadata.parse(json.dumps(fields).encode())


def compose_full(
    stamp: Stamp,
    job: JobId,
    schedules: tuple[ScheduleId, ...],
    records: PointRecords,
    size_bytes: int,
) -> PointMetadata:
    """Make the metadata of a new point of kind Archive. size_bytes: of its archive.

    As `compose` otherwise. The records of disks stay out, for the archive has them; of the disks
    stands there what lists of points show. Raises MetadataInvalid.
    """
    fields: dict[str, object] = {
        "jobId": job,
        "mode": "full",
        "scheduleId": schedules[0] if schedules else job,
        "size": size_bytes,
        "timestamp": int(instant_of(stamp).timestamp()) * 1000,
        "version": _VERSION,
        "vm": records.vm,
        "vmSnapshot": records.snapshot,
        "xva": f"./{archive_path(stamp)}",
        _OUR_KEY: {"schedules": list(schedules), "disks": _listed_disks(records)},
    }
    return PointMetadata.parse(json.dumps(fields).encode())


def _listed_disks(records: PointRecords) -> list[dict[str, JsonValue]]:
    """The disks, in the VM's order."""
    positions = {vbd.get("VDI"): str(vbd.get("userdevice", "")) for vbd in records.vbds.values()}
    listed: list[dict[str, JsonValue]] = [
        {
            "disk": vdi.get("$snapshot_of$uuid", vdi["uuid"]),
            "snapshot": vdi["uuid"],
            "name": vdi.get("name_label", ""),
            "size": _whole_number(str(vdi.get("virtual_size", 0))),
            "position": positions.get(ref, ""),
        }
        for ref, vdi in records.vdis.items()
    ]
    return sorted(listed, key=lambda disk: (len(str(disk["position"])), str(disk["position"])))


def point_of(metadata: PointMetadata, vm: VmUuid, stamp: Stamp) -> RestorePoint:
    """Say what the point is that stands under this name in this VM's directory.

    Raises MetadataInvalid if the metadata is of another VM, another instant or another mode, or
    names anything but disk files of this VM.
    """
    if metadata.mode not in _MODES:
        raise MetadataInvalid(f"mode: {metadata.mode[:40]!r} is not supported")
    _check_place(metadata, vm, stamp)
    archive = _archive_of(metadata, stamp) if metadata.is_full else ""
    schedules = [metadata.schedule] if metadata.ours is None else metadata.ours.schedules
    return RestorePoint(
        vm=vm,
        vm_name=metadata.vm.name_label,
        stamp=stamp,
        taken_at=instant_of(stamp),
        job=JobId(metadata.job),
        schedules=tuple(map(ScheduleId, schedules)),
        disks=_archived_disks(metadata, archive) if archive else _disks(metadata),
        size_bytes=_whole_number(metadata.size),
        kind=PointKind.ARCHIVE if archive else PointKind.INCREMENTAL,
        archive=archive,
    )


def disk_paths(metadata: PointMetadata) -> dict[str, DiskPath]:
    """The disk files by reference. Raises MetadataInvalid for any path that is not of our form."""
    if len(metadata.vhds) > _DISKS_MAX:
        raise MetadataInvalid(f"vhds: more than {_DISKS_MAX} disks")
    places: dict[str, DiskPath] = {}
    for ref, path in metadata.vhds.items():
        place = parse_disk_path(path)
        if place is None:
            raise MetadataInvalid(f"vhds: {path[:200]!r} is not a disk's path")
        if ref not in metadata.vdis:
            raise MetadataInvalid(f"vdis: no record for {path!r}")
        places[ref] = place
    if len({place.path for place in places.values()}) < len(places):
        raise MetadataInvalid("vhds: one file stands for two disks")
    return places


def _archive_of(metadata: PointMetadata, stamp: Stamp) -> str:
    """The archive that a point of the full mode names: its own, and nothing else."""
    if metadata.vhds:
        raise MetadataInvalid("vhds: a point of mode full has no disk files")
    path = archive_path(stamp)
    if metadata.xva is None or metadata.xva.removeprefix("./") != path:
        raise MetadataInvalid(f"xva: {str(metadata.xva)[:200]!r} is not {path}")
    return path


def _archived_disks(metadata: PointMetadata, archive: str) -> tuple[PointDisk, ...]:
    return tuple(
        PointDisk(
            disk=DiskUuid(disk.disk),
            snapshot=DiskSnapshotUuid(disk.snapshot),
            name=disk.name,
            path=archive,
            size_bytes=disk.size,
            position=disk.position,
        )
        for disk in (metadata.ours.disks if metadata.ours is not None else ())
    )


def _check_place(metadata: PointMetadata, vm: VmUuid, stamp: Stamp) -> None:
    if metadata.vm.uuid != vm:
        raise MetadataInvalid(f"vm: is of another VM, {metadata.vm.uuid[:40]!r}")
    if metadata.stamp != stamp:
        raise MetadataInvalid(f"timestamp: says {metadata.stamp}, the file's name {stamp}")


def _disks(metadata: PointMetadata) -> tuple[PointDisk, ...]:
    """The disks in the order in which the VM has them; those of unknown position last."""
    paths = disk_paths(metadata)
    if not paths:
        raise MetadataInvalid("vhds: the point has no disks")
    positions: dict[str, str] = {}
    vbds = (metadata.model_extra or {}).get("vbds")
    for record in vbds.values() if isinstance(vbds, dict) else ():
        match record:
            case {"VDI": str(vdi), "userdevice": str(position)} if _POSITION.fullmatch(position):
                positions[vdi] = position
    disks = [_disk_of(metadata, ref, place, positions.get(ref, "")) for ref, place in paths.items()]
    disks.sort(key=lambda disk: (not disk.position, len(disk.position), disk.position, disk.disk))
    return tuple(disks)


def _disk_of(metadata: PointMetadata, ref: str, place: DiskPath, position: str) -> PointDisk:
    vdi = metadata.vdis[ref]
    return PointDisk(
        disk=place.disk,
        snapshot=DiskSnapshotUuid(vdi.uuid),
        name=vdi.name_label,
        path=place.path,
        size_bytes=_whole_number(vdi.virtual_size),
        position=position,
        since_full=None if metadata.ours is None else metadata.ours.since_full.get(place.disk),
    )


def _whole_number(value: int | float | str | None) -> int:
    """A size as one of the writers of this format may have put it; 0 for what is none."""
    try:
        return max(int(value or 0), 0)
    except (ValueError, OverflowError):
        return 0


def _refuse_constant(name: str) -> Literal[0]:
    raise ValueError(f"{name} is no JSON number")


def _finite(digits: str) -> float:
    """1e999 is lawful JSON, and no number that could be written again."""
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:40]} is too large a number")
    return number
