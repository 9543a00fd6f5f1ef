"""What has to change in an object's status: nothing if it says already what it should. Pure.

A merge patch (RFC 7386): lists are whole, None removes. Conditions of other writers are left as
they are.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from reconciler.kube.objects import Raw, conditions_in
from reconciler.status.conditions import Condition, ConditionType

IsNearly = Callable[[str, object, object], bool]


def status_patch(
    raw: Raw,
    generation: int,
    conditions: tuple[Condition, ...],
    fields: Mapping[str, Any],
    now: datetime,
    is_nearly: IsNearly = lambda key, has, value: False,
) -> dict[str, Any]:
    """Return the patch of a status that should say this much.

    generation: of the spec that it speaks of. is_nearly: says of a field, as it is and as it should
    be, whether the difference is not worth a write.
    """
    has: Mapping[str, Any] = raw.get("status") or {}
    should: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": _laid_over(conditions_in(raw), conditions, generation, now),
        **fields,
    }
    return {
        key: _difference(has.get(key), value)
        for key, value in should.items()
        if has.get(key) != _without_nulls(value) and not is_nearly(key, has.get(key), value)
    }


def _difference(has: object, value: object) -> object:
    """Return a merge patch that makes `has` the value: keys of mappings that went are removed."""
    if not isinstance(has, Mapping) or not isinstance(value, Mapping):
        return value
    gone = dict.fromkeys(has.keys() - value.keys())
    return {**gone, **{key: _difference(has.get(key), inner) for key, inner in value.items()}}


def _without_nulls(value: object) -> object:
    """Return what the server keeps of a value."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return value


def _laid_over(
    before: list[Mapping[str, Any]],
    conditions: tuple[Condition, ...],
    generation: int,
    now: datetime,
) -> list[Mapping[str, Any]]:
    """Lay conditions over those that are there: an instant moves only when a status turns."""
    known = {each.get("type"): each for each in before}
    ours = {each.value for each in ConditionType}
    stamp = f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    merged: list[Mapping[str, Any]] = []
    for condition in conditions:
        was = known.get(condition.type.value, {})
        turned = was.get("status") != condition.status.value or not was.get("lastTransitionTime")
        merged.append(
            {
                "type": condition.type.value,
                "status": condition.status.value,
                "reason": condition.reason.value,
                "message": condition.message,
                "observedGeneration": generation,
                "lastTransitionTime": stamp if turned else was["lastTransitionTime"],
            }
        )
    return merged + [each for each in before if each.get("type") not in ours]
