"""A party of actions with all that another process needs to carry it out, as one text.

What is desired of the pools and remotes that it touches goes with it, so that whoever opens it acts
on what the plan was made from. Secrets do not: a parcel says where they are, as manifests do.

The text comes back from a place where others may write: what is in it is checked as a manifest is.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError

from reconciler.desired.selector import Selector
from reconciler.desired.state import Desired, Job, Pool, Remote, Settings
from reconciler.ids import JobId
from reconciler.plan.actions import Action

BYTES_MAX = 200 * 1024
"""Of the text: an object's annotations together may have 256 KiB."""

T = TypeVar("T")

_FORMAT = 1
_CLASSES: dict[str, type[Action]] = {each.__name__: each for each in get_args(Action)}
_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {
    kind: TypeAdapter(kind) for kind in (*get_args(Action), Pool, Remote, Settings)
}


class NoParcel(ValueError):
    """The text is no parcel, or one of a version that is not known here."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """settings: of the job that the actions belong to, if they belong to one."""

    actions: tuple[Action, ...]
    pools: tuple[Pool, ...] = ()
    remotes: tuple[Remote, ...] = ()
    settings: Settings | None = None

    @property
    def desired(self) -> Desired:
        """What is desired, as far as the actions need it."""
        return Desired(
            pools={each.name: each for each in self.pools},
            remotes={each.name: each for each in self.remotes},
            jobs={} if self.settings is None else {job.name: job for job in self._jobs()},
        )

    def _jobs(self) -> list[Job]:
        assert self.settings is not None
        return [
            Job(
                name=name,
                id=getattr(action, "job_id", JobId("")),
                pools=(),
                remotes=(),
                selector=Selector(),
                schedules=(),
                settings=self.settings,
            )
            for action in self.actions
            if (name := getattr(action, "job", None)) is not None
        ]


def pack(actions: Sequence[Action], desired: Desired) -> Parcel:
    """Put a party and what it needs of the desired state together."""
    places = ("pool", "target_pool", "remote")
    touched = {getattr(each, place, None) for each in actions for place in places}
    jobs = [job for job in desired.jobs.values() if job.name == getattr(actions[0], "job", None)]
    return Parcel(
        actions=tuple(actions),
        pools=tuple(pool for pool in desired.pools.values() if pool.name in touched),
        remotes=tuple(remote for remote in desired.remotes.values() if remote.name in touched),
        settings=jobs[0].settings if jobs else None,
    )


def to_text(parcel: Parcel) -> str:
    """Write a parcel. Raises ValueError if it is longer than `BYTES_MAX`."""
    content = {
        "format": _FORMAT,
        "actions": [
            {"action": type(each).__name__, "fields": _dumped(type(each), each)}
            for each in parcel.actions
        ],
        "pools": [_dumped(Pool, each) for each in parcel.pools],
        "remotes": [_dumped(Remote, each) for each in parcel.remotes],
        "settings": None if parcel.settings is None else _dumped(Settings, parcel.settings),
    }
    text = json.dumps(content, separators=(",", ":"))
    if len(text.encode()) > BYTES_MAX:
        raise ValueError(f"{len(parcel.actions)} actions need more than {BYTES_MAX // 1024} KiB")
    return text


def from_text(text: str) -> Parcel:
    """Read a parcel. Raises NoParcel."""
    try:
        content = json.loads(text)
        if content["format"] != _FORMAT:
            raise NoParcel(f"the parcel is of format {content['format']}, not {_FORMAT}")
        settings = content["settings"]
        return Parcel(
            actions=tuple(
                _loaded(_CLASSES[each["action"]], each["fields"]) for each in content["actions"]
            ),
            pools=tuple(_loaded(Pool, each) for each in content["pools"]),
            remotes=tuple(_loaded(Remote, each) for each in content["remotes"]),
            settings=None if settings is None else _loaded(Settings, settings),
        )
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise NoParcel(f"the parcel cannot be read: {error}") from error


def _dumped(kind: type[Any], value: object) -> object:
    return _ADAPTERS[kind].dump_python(value, mode="json")


def _loaded(kind: type[T], value: object) -> T:
    loaded = _ADAPTERS[kind].validate_python(value)
    assert isinstance(loaded, kind)
    if _dumped(kind, loaded) != value:  # more than this version knows, or written otherwise
        raise ValueError(f"a {kind.__name__} with fields that are not known here")
    return loaded
