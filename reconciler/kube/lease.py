"""The Lease of coordination.k8s.io that candidates are elected through, at the API server."""

from datetime import UTC, datetime
from typing import Any

from reconciler.kube.api import KubeApi, Raw
from reconciler.kube.election import Lease
from reconciler.kube.errors import Missing
from reconciler.kube.resources import Resource

LEASES = Resource("coordination.k8s.io", "v1", "leases")


class KubeLease:
    """One Lease of a namespace. What others wrote into it beside its spec stays."""

    def __init__(self, api: KubeApi, namespace: str, name: str) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name

    async def read(self) -> Lease:
        """Return the Lease; one without a version if there is none. Raises KubeError."""
        try:
            raw = await self._api.get(LEASES, self._namespace, self._name)
        except Missing:
            return Lease()
        return _lease_of(raw)

    async def write(self, lease: Lease) -> Lease:
        """Replace exactly the version that was read, or create it; return what stands there now.

        Raises Conflict if another one stands there, and other KubeErrors.
        """
        spec = {
            "holderIdentity": lease.holder,
            "leaseDurationSeconds": lease.lease_s,
            "leaseTransitions": lease.transitions,
            "acquireTime": _text_of(lease.acquired_at),
            "renewTime": _text_of(lease.renewed_at),
        }
        metadata = {"name": self._name, "namespace": self._namespace}
        body: Raw = {"apiVersion": LEASES.api_version, "kind": "Lease", "metadata": metadata}
        if not lease.version:
            raw = await self._api.create(LEASES, self._namespace, {**body, "spec": spec})
        else:
            # A merge that names the version it is meant for leaves labels and the like alone.
            body["metadata"] = {**metadata, "resourceVersion": lease.version}
            raw = await self._api.merge(LEASES, self._namespace, self._name, {**body, "spec": spec})
        return _lease_of(raw)


def _lease_of(raw: Raw) -> Lease:
    """Read what anybody may have written: what makes no sense counts as not there."""
    spec = raw.get("spec") or {}
    return Lease(
        holder=str(spec.get("holderIdentity") or ""),
        lease_s=_count_of(spec.get("leaseDurationSeconds")),
        transitions=_count_of(spec.get("leaseTransitions")),
        acquired_at=_instant_of(spec.get("acquireTime")),
        renewed_at=_instant_of(spec.get("renewTime")),
        version=str(raw["metadata"]["resourceVersion"]),
    )


def _count_of(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _instant_of(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return None


def _text_of(instant: datetime | None) -> str | None:
    """Write an instant as MicroTime: six digits, always."""
    if instant is None:
        return None
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
