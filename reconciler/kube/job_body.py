"""The Job that carries a party out: from a pod template that whoever installs us gives. Pure."""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.desired.envelope import GROUP
from reconciler.kube.api import Raw
from reconciler.kube.job_notes import PARCEL
from reconciler.kube.resources import Resource
from reconciler.plan.actions import Action, id_of

JOBS = Resource("batch", "v1", "jobs")
PODS = Resource("", "v1", "pods")

MANAGED_BY = "app.kubernetes.io/managed-by"
SELECTOR = f"{MANAGED_BY}=reconciler,{GROUP}/worker=true"

_CONTAINER = "worker"
_KEPT_S = 3600  # after its end, for people and their logs


class TemplateInvalid(ValueError):
    """The pod template cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class WorkerTemplate:
    """pod: a PodTemplateSpec whose container "worker" is ours; what it does is added to it."""

    pod: Raw

    def __post_init__(self) -> None:
        spec = self.pod.get("spec")
        containers = spec.get("containers") if isinstance(spec, dict) else None
        if not isinstance(containers, list) or _CONTAINER not in [
            each.get("name") for each in containers if isinstance(each, dict)
        ]:
            raise TemplateInvalid(
                f'a pod template has a spec whose containers include one named "{_CONTAINER}"'
            )

    @property
    def image(self) -> str | None:
        """The worker's image; None if the template leaves it to us."""
        image = _worker_of(self.pod).get("image")
        return None if image is None else str(image)

    def with_image(self, image: str) -> "WorkerTemplate":
        pod = copy.deepcopy(self.pod)
        _worker_of(pod)["image"] = image
        return WorkerTemplate(pod)


def job_body(
    template: WorkerTemplate, namespace: str, actions: Sequence[Action], parcel: str, token: str
) -> Raw:
    """Write the Job for a party. token: makes this try's name its own.

    It is tried once: whether there is a next try is the planner's affair.
    """
    digest = hashlib.blake2b(" ".join(map(id_of, actions)).encode(), digest_size=5).hexdigest()
    name = f"reconciler-{actions[0].verb}-{digest}-{token}"
    labels = {MANAGED_BY: "reconciler", f"{GROUP}/worker": "true", f"{GROUP}/verb": actions[0].verb}
    if actions[0].vm is not None:
        labels[f"{GROUP}/vm-uuid"] = actions[0].vm
    pod = copy.deepcopy(template.pod)
    metadata = pod.setdefault("metadata", {})
    metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
    pod["spec"]["restartPolicy"] = "Never"
    _worker_of(pod)["args"] = ["act", "--namespace", namespace, "--job", name]
    return {
        "apiVersion": JOBS.api_version,
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels,
            "annotations": {PARCEL: parcel},
        },
        "spec": {
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": _KEPT_S,
            "template": pod,
        },
    }


def _worker_of(pod: Raw) -> Raw:
    """The container that is ours. There is one: a template without is none."""
    containers: list[Raw] = pod["spec"]["containers"]
    return next(each for each in containers if each.get("name") == _CONTAINER)


def has_ended(raw: Mapping[str, Any]) -> str | None:
    """Say how a Job ended, in the cluster's words; None while it has not."""
    for condition in (raw.get("status") or {}).get("conditions") or ():
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            said = condition.get("message") or condition.get("reason") or condition["type"]
            return str(said)
    return None
