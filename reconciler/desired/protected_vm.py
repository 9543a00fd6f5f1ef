"""Kind ProtectedVM: how one VM of one job stands. Written by the operator, never by people."""

from pydantic import Field

from reconciler.desired.envelope import Fields, Reference, Uuid


class ProtectedVmSpec(Fields):
    """How one VM of one job stands. The operator makes and removes these; nothing hangs on them."""

    job_ref: Reference
    vm: Uuid = Field(description="Uuid of the VM.")
