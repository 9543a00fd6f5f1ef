"""Lists of objects, taken into a picture; and how seldom they are needed.

Notices and answers tell of every change, so lists only guard against what should not happen: a
notice that was lost, somebody's hand on what is ours alone.
"""

import structlog

from reconciler.kube.api import KubeApi
from reconciler.kube.errors import Forbidden, KubeError, Missing
from reconciler.kube.picture import Part, Picture
from reconciler.kube.resources import resource_of

log = structlog.get_logger(__name__)

_SHARE = 100
_REST_MAX_S = 600.0


async def take_list(picture: Picture, part: Part, api: KubeApi) -> bool:
    """List a part; say whether anything was news. Raises KubeError."""
    kind, namespace = part
    listing = await api.list(resource_of(kind), namespace, hold=picture.as_held)
    version = int(listing.version) if listing.version.isdigit() else 0
    return picture.take_list(part, listing.items, version)


def rest_s(took_s: float, least_s: float) -> float:
    """Say how long to leave lists alone of which the last took so long.

    However many objects there are, and however slow the server, they take a hundredth of the time
    at most; and what nothing else told of is found within ten minutes. least_s: before that there
    is no hurry.
    """
    return min(max(least_s, took_s * _SHARE), _REST_MAX_S)


def say_unlisted(part: Part, error: KubeError) -> None:
    """Log that a part cannot be listed, and what to do about it."""
    kind, namespace = part
    hint = ""
    if isinstance(error, Missing):
        hint = "are the CustomResourceDefinitions installed?"
    if isinstance(error, Forbidden):
        hint = "its role must allow get, list and watch"
    place = namespace or "all"
    log.warning("objects cannot be listed", kind=kind, namespace=place, why=str(error), hint=hint)
