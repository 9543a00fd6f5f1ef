"""Kind ProtectedVM: how one VM of one job stands. Written by the operator, never by people."""

from typing import ClassVar

from pydantic import Field

from reconciler.desired.envelope import Fields, Reference, Uuid
from reconciler.desired.rules import Rule


class ProtectedVmSpec(Fields):
    """How one VM of one job stands. The operator makes and removes these; nothing hangs on them."""

    job_ref: Reference = Field(description="The BackupJob that protects it.")
    vm: Uuid = Field(description="Uuid of the VM.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self == oldSelf", "the operator writes these; they are not changed"),
    )
