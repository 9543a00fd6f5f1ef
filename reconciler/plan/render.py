"""An action as plain values, for JSON and for records."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from reconciler.plan.actions import Action, id_of


def as_dict(action: Action) -> dict[str, Any]:
    """Render an action as JSON-ready values, with its class name under "action"."""
    return {"action": type(action).__name__, "id": id_of(action), **_plain(asdict(action))}


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case datetime():
            return value.isoformat()
        case _:
            return value
