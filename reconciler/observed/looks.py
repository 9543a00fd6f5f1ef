"""Whether a later look found anything that the planner did not know. Pure.

When a place was looked at, and how full it is, decides nothing: everything else does. A property
test holds the planner to it.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TypeAlias, TypeVar

from reconciler.ids import SrUuid
from reconciler.observed.chain import History
from reconciler.observed.pool import PoolView
from reconciler.observed.remote import RemoteView
from reconciler.observed.replica import Sr
from reconciler.observed.state import Observed
from reconciler.observed.unknown import Unknown

Name = TypeVar("Name", bound=str)
View: TypeAlias = PoolView | RemoteView | Unknown


def found_nothing_new(before: Observed, after: Observed) -> bool:
    """Say whether places were looked at again and are as they were.

    As long as something that our own hands did may not have been seen yet, a later look is news.
    """
    if before.pools.keys() != after.pools.keys() or before.remotes.keys() != after.remotes.keys():
        return False
    again = [*_other(before.pools, after.pools), *_other(before.remotes, after.remotes)]
    if not all(_is_as_before(known, view) for known, view in again):
        return False
    touched = max(before.progress.touched.values(), default=None)
    return touched is None or all(touched < _as_of(known) for known, _ in again)


def _other(before: Mapping[Name, View], after: Mapping[Name, View]) -> list[tuple[View, View]]:
    """Return the views that are another value than before, with those of before."""
    return [(before[name], view) for name, view in after.items() if before[name] is not view]


def _is_as_before(known: View, view: View) -> bool:
    match known, view:
        case PoolView(), PoolView():
            is_same = replace(known, as_of=view.as_of, srs=view.srs) == view
            return is_same and _without_space(known.srs) == _without_space(view.srs)
        case RemoteView(), RemoteView():
            is_same = known.identity == view.identity
            return (
                is_same
                and known.histories.keys() == view.histories.keys()
                and all(
                    _is_same_history(known.histories[vm], each)
                    for vm, each in view.histories.items()
                )
            )
        case _:
            return False


def _without_space(srs: Mapping[SrUuid, Sr]) -> dict[SrUuid, Sr]:
    return {
        uuid: replace(sr, free_bytes=None, total_bytes=None, coalesce_backlog=None)
        for uuid, sr in srs.items()
    }


def _is_same_history(known: History | Unknown, history: History | Unknown) -> bool:
    if isinstance(known, History) and isinstance(history, History):
        return replace(known, as_of=history.as_of) == history
    return known == history


def _as_of(view: View) -> datetime:
    assert not isinstance(view, Unknown), "what is not seen is news each time"
    return view.as_of
