"""The action that starts a VM again which a snapshot of ours had shut down."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from reconciler.ids import PoolName, VmUuid
from reconciler.plan.reasons import Reason


@dataclass(frozen=True, slots=True)
class PowerOn:
    """Start a VM, unless it runs by now, and take the mark off it that said so.

    due: when it was shut down.
    """

    verb: ClassVar[str] = "start"
    destructive: ClassVar[bool] = False

    pool: PoolName
    vm: VmUuid
    vm_name: str
    due: datetime
    reason: Reason
