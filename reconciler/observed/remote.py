"""A remote as seen through its own listing, metadata and disk headers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from reconciler.ids import RemoteName, VmUuid
from reconciler.observed.chain import History
from reconciler.observed.unknown import Unknown


@dataclass(frozen=True, slots=True)
class RemoteView:
    """One remote. A VM whose directory could not be read wholly is Unknown; the others stand.

    free_bytes, total_bytes: None where the remote cannot tell.
    identity: what its identity file says; None if it has none.
    as_of: the listing of VMs is complete up to this instant: a VM not in it has no points.
    """

    name: RemoteName
    as_of: datetime
    free_bytes: int | None
    total_bytes: int | None
    histories: Mapping[VmUuid, History | Unknown] = field(default_factory=dict)
    identity: str | None = None
