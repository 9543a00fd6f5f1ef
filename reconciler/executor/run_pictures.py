"""Runs as a door shows them while they go on: what is noted of each, and of each thing it did."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reconciler.executor.outcomes import newest_of
from reconciler.executor.records import Try
from reconciler.status.runs import NotedRun

CLOSED_MAX = 500
"""Runs that are over and still shown: a door that was away for long has missed others."""


@dataclass(frozen=True, slots=True)
class RunPicture:
    """tries: the newest of each thing. Equal as long as nothing began or ended."""

    row: NotedRun
    tries: tuple[Try, ...] = ()


def picture_of(row: NotedRun, tries: Sequence[Try]) -> RunPicture:
    """Leave out how far a try is that goes on: that is different each time one looks."""
    still = [
        each if each.ended_at is not None else replace(each, bytes=0, total_bytes=0)
        for each in newest_of(tries)
    ]
    return RunPicture(row, tuple(still))
