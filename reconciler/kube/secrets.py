"""Secrets of the cluster: read by name, and kept in memory for as long as something names them.

No Secret is listed or watched: the right to `get` those that are named is all it takes. Each is
read again every half minute, so that one that was rotated is noticed before a minute is over. Every
other sort of reference (a variable, a file) is read as files' manifests have it.
"""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from reconciler.desired.state import Desired, Pool, Remote, SecretRef, secrets_of
from reconciler.kube.api import KubeApi, Raw
from reconciler.kube.errors import Forbidden, KubeError, Missing
from reconciler.kube.resources import SECRETS
from reconciler.sources.secrets import Secret, SecretUnavailable, read_secret

log = structlog.get_logger(__name__)

_READ_EVERY_S = 30.0
_PATIENCE_S = 10.0  # for the secrets of a new desired state, before it is in force without them
_READS_AT_ONCE = 4

_Name = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """entries: as the Secret has them, base64. why: it was not had."""

    entries: Mapping[str, Secret] = field(default_factory=dict)
    why: str = ""


class Secrets:
    """One per operator; `reveal` may be called from any thread."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._wanted: frozenset[SecretRef] = frozenset()
        self._answers: dict[_Name, _Answer] = {}

    def reveal(self, reference: SecretRef) -> str:
        """Fetch a secret at the moment of its use. Raises LookupError: it cannot be had now."""
        if reference.secret is None:
            try:
                return read_secret(reference).reveal()
            except SecretUnavailable as error:
                raise LookupError(str(error)) from error
        name = _name_of(reference)
        assert reference.key is not None, "an entry of a Secret is named"
        what = f"entry {reference.key} of Secret {'/'.join(name)}"
        answer = self._answers.get(name, _Answer(why="it has not been read yet"))
        entry = answer.entries.get(reference.key)
        if entry is None:
            raise LookupError(f"{what}: {answer.why or 'there is no such entry'}")
        return _decoded(entry, what)

    async def want(self, desired: Desired) -> None:
        """Have the secrets of a desired state, if that takes a moment; forget all others."""
        settings: list[Pool | Remote] = [*desired.pools.values(), *desired.remotes.values()]
        self._wanted = frozenset(one for each in settings for one in secrets_of(each))
        names = {_name_of(one) for one in self._wanted if one.secret is not None}
        for name in self._answers.keys() - names:
            del self._answers[name]
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await self._read(names - self._answers.keys())

    async def follow(self, renew: Callable[[Collection[SecretRef]], Awaitable[None]]) -> None:
        """Read all that is wanted again and again; hand over what is another now."""
        while True:
            await asyncio.sleep(_READ_EVERY_S)
            before = dict(self._answers)
            await self._read({_name_of(one) for one in self._wanted if one.secret is not None})
            changed = [
                one
                for one in self._wanted
                if one.secret is not None
                and (was := before.get(_name_of(one))) is not None
                and was.entries.get(one.key or "") != self._entry(one)
            ]
            if changed:
                log.info(
                    "secrets changed", secrets=sorted({"/".join(_name_of(one)) for one in changed})
                )
                await renew(frozenset(changed))

    def _entry(self, reference: SecretRef) -> Secret | None:
        answer = self._answers.get(_name_of(reference), _Answer())
        return answer.entries.get(reference.key or "")

    async def _read(self, names: Iterable[_Name]) -> None:
        waiting = list(names)

        async def reader() -> None:
            while waiting:
                await self._read_one(waiting.pop())

        async with asyncio.TaskGroup() as group:
            for _ in range(min(_READS_AT_ONCE, len(waiting))):
                group.create_task(reader())

    async def _read_one(self, name: _Name) -> None:
        try:
            raw = await self._api.get(SECRETS, *name)
        except Missing:
            answer = _Answer(why="there is no such Secret")
        except Forbidden:
            answer = _Answer(why="the operator's role does not allow to get it")
        except KubeError as error:  # what was read before stays good until it is seen otherwise
            answer = self._answers.get(name, _Answer(why=str(error)))
        else:
            answer = _Answer(_entries_of(raw))
        self._answers[name] = answer


def _name_of(reference: SecretRef) -> _Name:
    assert reference.namespace is not None and reference.secret is not None
    return reference.namespace, reference.secret


def _entries_of(raw: Raw) -> dict[str, Secret]:
    return {str(key): Secret(str(value)) for key, value in (raw.get("data") or {}).items()}


def _decoded(entry: Secret, what: str) -> str:
    """Decode an entry; one newline at its end is not part of it, as of files."""
    try:
        text = base64.b64decode(entry.reveal(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise LookupError(f"{what}: it is not UTF-8 text") from None  # the error carries the bytes
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise LookupError(f"{what}: it is empty")
    return text
