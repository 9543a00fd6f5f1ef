"""What operator and worker write on the Job between them: annotations, as text and back. Pure.

| annotation  | by the    | what                                                        |
|-------------|-----------|-------------------------------------------------------------|
| `parcel`    | operator  | the actions, and what is desired of what they touch         |
| `given-up`  | operator  | ids of actions that are to be stopped                       |
| `progress`  | worker    | bytes moved and expected of each action; there once it began |
| `endings`   | worker    | how each action ended that has                              |

One writer each, so that neither takes back what the other said. What does not make sense counts as
not said: the world is looked at anyway.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.desired.envelope import GROUP
from reconciler.executor.act import Ending
from reconciler.executor.transfers import Transfer
from reconciler.ids import ActionId
from reconciler.kube.objects import Raw
from reconciler.plan.reasons import Reason, reason_of

PARCEL = f"{GROUP}/parcel"
GIVEN_UP = f"{GROUP}/given-up"
PROGRESS = f"{GROUP}/progress"
ENDINGS = f"{GROUP}/endings"

_WHY_MAX = 1000


def note_of(raw: Raw, name: str) -> str:
    """Return an annotation of an object, "" if it has none such."""
    return str((raw["metadata"].get("annotations") or {}).get(name, ""))


def progress_text(transfers: Iterable[Transfer]) -> str:
    return json.dumps({each.id: [each.done_bytes, each.total_bytes] for each in transfers})


def progress_of(raw: Raw) -> dict[ActionId, tuple[int, int]] | None:
    """Return bytes moved and bytes expected by action; None while the worker has not begun."""
    text = note_of(raw, PROGRESS)
    if not text:
        return None
    return {
        ActionId(id_): (pair[0], pair[1])
        for id_, pair in _mapping(text).items()
        if isinstance(pair, list) and len(pair) == 2 and all(isinstance(each, int) for each in pair)
    }


def endings_text(endings: Mapping[ActionId, Ending]) -> str:
    return json.dumps(
        {
            id_: {"reason": each.reason, "why": each.why[:_WHY_MAX], "bytes": each.bytes_moved}
            for id_, each in endings.items()
        }
    )


def endings_of(raw: Raw) -> dict[ActionId, Ending]:
    return {
        ActionId(id_): _ending_of(each)
        for id_, each in _mapping(note_of(raw, ENDINGS)).items()
        if isinstance(each, dict)
    }


def given_up_text(actions: Iterable[ActionId]) -> str:
    return ",".join(sorted(actions))


def given_up_of(raw: Raw) -> set[ActionId]:
    return {ActionId(each) for each in note_of(raw, GIVEN_UP).split(",") if each}


def _ending_of(content: Mapping[str, Any]) -> Ending:
    reason, moved = content.get("reason"), content.get("bytes")
    return Ending(
        None if reason is None else reason_of(str(reason), Reason.INTERNAL_ERROR),
        str(content.get("why", "")),
        moved if isinstance(moved, int) else 0,
    )


def _mapping(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text or "{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
