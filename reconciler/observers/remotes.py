"""Looks at one remote: a full look now and then, a quick one at the VMs our own hands touched.

Turns what `catalog.read` sees into a RemoteView; a VM that cannot be read wholly becomes Unknown,
alone; a remote that cannot be listed becomes Unknown, whole. Decides nothing.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Container, Iterable
from dataclasses import replace
from datetime import UTC, datetime

import structlog

from reconciler.catalog import read
from reconciler.catalog.headers import Headers
from reconciler.catalog.proofs import list_noted
from reconciler.clock import Clock
from reconciler.ids import RemoteName, VmUuid
from reconciler.observed.chain import History
from reconciler.observed.remote import RemoteView
from reconciler.observed.unknown import Unknown
from reconciler.plan.reasons import Reason
from reconciler.remotes.errors import RemoteError, WrongKey, WrongRemote
from reconciler.remotes.remote import Remote

log = structlog.get_logger(__name__)

_NEVER = datetime.min.replace(tzinfo=UTC)
_READERS = 8  # VMs read at once: hides the latency of a network file system, floods none


class RemoteObserver:
    """Keeps one remote's view fresh. open_remote: gives the opened remote, or raises RemoteError.

    look_every_s: how often everything is looked at again, for what others do to the remote.
    look_at_locked_s: how soon a VM is looked at again whose lock somebody else seems to hold: the
    dead do not renew theirs, and after ten seconds it is void.
    deadline_s: a look that takes longer than this makes the remote Unknown (a hung mount).
    """

    def __init__(
        self,
        name: RemoteName,
        open_remote: Callable[[RemoteName], Awaitable[Remote]],
        clock: Clock,
        publish: Callable[[RemoteView | Unknown], None],
        look_every_s: float = 60.0,
        look_at_locked_s: float = 12.0,
        deadline_s: float = 600.0,
    ) -> None:
        self._name = name
        self._open_remote = open_remote
        self._clock = clock
        self._publish = publish
        self._look_every_s = look_every_s
        self._look_at_locked_s = look_at_locked_s
        self._deadline_s = deadline_s
        self._headers = Headers()
        self._view: RemoteView | Unknown | None = None
        self._touched: dict[VmUuid, datetime] = {}
        self._bell = asyncio.Event()
        self._asked = False  # for everything, by a person
        self._look_at_locked_at: float | None = None  # however often others are touched meanwhile

    def poke(self, touched: Iterable[tuple[VmUuid, datetime]]) -> None:
        """Look again at these VMs, unless they have been looked at since the instant given."""
        for vm, at in touched:
            if at > self._touched.get(vm, _seen_at(self._view, vm)):
                self._touched[vm] = at
                self._bell.set()

    def look(self) -> None:
        """Look at everything again now."""
        self._asked = True
        self._bell.set()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            self._asked = False
            await self._look(self._look_at_everything)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_every_s):
                    while not self._asked:
                        await self._touched_or_locked()
                        if not self._asked:
                            await self._look(self._look_at_touched)

    async def _touched_or_locked(self) -> None:
        """Wait until something was touched, or a lock that was seen may have gone stale."""
        locked = _locked_vms(self._view)
        loop = asyncio.get_running_loop()
        if not locked:
            self._look_at_locked_at = None
        elif self._look_at_locked_at is None:
            self._look_at_locked_at = loop.time() + self._look_at_locked_s
        try:
            async with asyncio.timeout_at(self._look_at_locked_at):
                await self._bell.wait()
        except TimeoutError:
            self._look_at_locked_at = None
            self._touched.update(dict.fromkeys(locked, self._clock.now()))

    async def _look(self, how: Callable[[], Awaitable[RemoteView]]) -> None:
        self._bell.clear()
        view: RemoteView | Unknown
        try:
            async with asyncio.timeout(self._deadline_s):
                view = await how()
        except TimeoutError:
            view = self._unknown(f"no answer within {self._deadline_s:.0f} s")
        except Exception as error:  # whatever lies on a remote, the watch goes on
            view = self._unknown(_why(error), _reason(error))
        if isinstance(view, Unknown) and not isinstance(self._view, Unknown):
            log.warning("remote not readable", remote=self._name, why=view.why)
        self._view = view
        self._publish(view)

    def _unknown(self, why: str, reason: Reason = Reason.REMOTE_UNAVAILABLE) -> Unknown:
        since = self._view.since if isinstance(self._view, Unknown) else self._clock.now()
        return Unknown(since=since, reason=reason, why=why)

    async def _look_at_everything(self) -> RemoteView:
        as_of = self._clock.now()
        self._touched.clear()
        remote = await self._open_remote(self._name)
        await remote.prove()
        space = await remote.space()
        vms = await read.list_vms(remote)
        self._headers.forget_others(set(vms))
        noted = await list_noted(remote)
        histories = await self._read_all(remote, vms, noted)
        return RemoteView(
            name=self._name,
            as_of=as_of,
            free_bytes=space.free_bytes if space else None,
            total_bytes=space.total_bytes if space else None,
            histories=histories,
            identity=remote.identity,
        )

    async def _look_at_touched(self) -> RemoteView:
        if not isinstance(self._view, RemoteView):
            return await self._look_at_everything()
        touched, self._touched = self._touched, {}
        remote = await self._open_remote(self._name)
        space = await remote.space()
        fresh = await self._read_all(remote, touched, touched)
        return replace(
            self._view,
            free_bytes=space.free_bytes if space else None,
            histories={**self._view.histories, **fresh},
        )

    async def _read_all(
        self, remote: Remote, vms: Iterable[VmUuid], noted: Container[VmUuid]
    ) -> dict[VmUuid, History | Unknown]:
        """noted: VMs of which something may be proven."""
        histories: dict[VmUuid, History | Unknown] = {}
        waiting = list(vms)[::-1]

        async def reader() -> None:
            while waiting:
                vm = waiting.pop()
                histories[vm] = await self._read_vm(remote, vm, noted=vm in noted)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(_READERS, len(waiting))):
                group.create_task(reader())
        return histories

    async def _read_vm(self, remote: Remote, vm: VmUuid, *, noted: bool) -> History | Unknown:
        as_of = self._clock.now()
        try:
            return await read.read_vm(remote, vm, as_of, self._headers, noted=noted)
        except Exception as error:  # one VM's directory never hides the others
            return Unknown(since=as_of, reason=_reason(error), why=_why(error))


def _seen_at(view: RemoteView | Unknown | None, vm: VmUuid) -> datetime:
    if not isinstance(view, RemoteView):
        return _NEVER
    history = view.histories.get(vm)
    return history.as_of if isinstance(history, History) else view.as_of


def _locked_vms(view: RemoteView | Unknown | None) -> list[VmUuid]:
    if not isinstance(view, RemoteView):
        return []
    return [
        vm
        for vm, history in view.histories.items()
        if isinstance(history, History) and history.locked_by_others
    ]


def _reason(error: Exception) -> Reason:
    """An error of the remote's is expected; any other is a mistake of ours, and is shown whole."""
    if isinstance(error, WrongRemote):
        return Reason.WRONG_REMOTE
    if isinstance(error, WrongKey):
        return Reason.WRONG_KEY
    if isinstance(error, RemoteError):
        return Reason.REMOTE_UNAVAILABLE
    log.error("remote not understood", exc_info=error)
    return Reason.INTERNAL_ERROR


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
