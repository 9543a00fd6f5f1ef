"""All objects of the cluster, followed as they change: kopf listens, lists have the last word.

    kopf's thread        on.event ──► call_soon_threadsafe ─┐
    our loop             list, now and then ────────────────┴─► Picture ─► Latest[objects]

kopf runs in a thread and a loop of its own, because it cancels what it finds in a loop when it
stops. It is asked to do nothing but listen: a handler of any other sort would write annotations or
finalizers to people's objects. It tells of each change within milliseconds, but not of a list's
end, nor of what went while its watch was broken; so lists tell what is there, and what is not.
Until every kind has been listed nothing is handed on; while the server is away, what was seen last
stays in force. What nobody but us writes is not listened for (`kept.py`).
"""

import asyncio
import logging
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import kopf
import structlog

from reconciler.desired.document import Identity
from reconciler.kube.api import KubeApi
from reconciler.kube.errors import KubeError, Unreachable
from reconciler.kube.lists import rest_s, say_unlisted, take_list
from reconciler.kube.login import Credentials
from reconciler.kube.objects import Raw
from reconciler.kube.picture import Picture
from reconciler.kube.resources import resource_of
from reconciler.kube.scope import Scope
from reconciler.latest import Latest

log = structlog.get_logger(__name__)

_QUIET_S = 0.05  # without a notice, before objects are handed on: an apply of many arrives as one
_BURST_S = 1.0  # of notices without a pause, before they are handed on all the same
_LIST_REST_S = 60.0  # a notice that was never sent costs so long, or what `rest_s` says
_LIST_AGAIN_S = 5.0  # after kopf began anew: what went meanwhile it does not tell
_FAILED_WAIT_S = 2.0
_FAILED_WAIT_MAX_S = 30.0
_KOPF_WAIT_S = 5.0  # after kopf ended by itself
_CLOSING_S = 0.25  # aiohttp leaves TLS connections to close by themselves
_STOP_S = 5.0  # for kopf to end; its thread is a daemon


class Listening:
    """Keeps `objects` all that there is in scope; None until everything was listed once."""

    def __init__(self, api: KubeApi, credentials: Credentials, scope: Scope) -> None:
        self.objects: Latest[Mapping[Identity, Raw] | None] = Latest(None)
        self._api = api
        self._credentials = credentials
        self._scope = scope
        self._picture = Picture(scope.parts)
        self._news = asyncio.Event()
        self._doubt = asyncio.Event()  # something may have gone without a notice

    async def run(self) -> None:
        """Follow for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hand_on(), name="hand on objects")
            await self._list_until_whole()  # kopf fails for good on kinds that are not there yet
            group.create_task(self._keep_kopf(), name="keep kopf")
            await self._list_now_and_then()

    def take(self, raw: Raw) -> None:
        """Take an object as a call of ours returned it, sooner than kopf tells of it."""
        if self._picture.take(raw):
            self._news.set()

    def lose(self, identity: Identity) -> None:
        """Nothing: kopf tells of it, and at which version it went."""

    # ── lists ──

    async def _list_until_whole(self) -> None:
        wait_s = _FAILED_WAIT_S
        while not await self._list():
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, _FAILED_WAIT_MAX_S)

    async def _list_now_and_then(self) -> None:
        wait_s = _LIST_REST_S
        machine = asyncio.get_running_loop()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._doubt.wait()
                    await asyncio.sleep(_LIST_AGAIN_S)
            self._doubt.clear()
            began = machine.time()
            whole = await self._list()
            took_s = machine.time() - began
            wait_s = rest_s(took_s, _LIST_REST_S) if whole else _FAILED_WAIT_MAX_S

    async def _list(self) -> bool:
        """List every part; say whether all answered. One that does not hides no other."""
        whole = True
        for part in self._scope.parts:
            try:
                news = await take_list(self._picture, part, self._api)
            except Unreachable as error:
                log.warning("the API server cannot be reached", why=str(error))
                return False
            except KubeError as error:
                whole = False
                say_unlisted(part, error)
                continue
            if news:
                self._news.set()
        return whole

    # ── notices ──

    async def _keep_kopf(self) -> None:
        """Have kopf listen; when it ends by itself, begin anew."""
        loop = asyncio.get_running_loop()
        while True:
            ended = asyncio.Event()
            stop = threading.Event()
            thread = threading.Thread(
                target=self._listen, args=(loop, stop, ended), name="kopf", daemon=True
            )
            thread.start()
            self._doubt.set()
            try:
                await ended.wait()
            finally:
                stop.set()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_STOP_S):
                        await ended.wait()
            log.warning("listening ended; it begins anew")
            await asyncio.sleep(_KOPF_WAIT_S)

    def _listen(
        self, loop: asyncio.AbstractEventLoop, stop: threading.Event, ended: asyncio.Event
    ) -> None:
        """Run kopf to its end; in a thread of its own."""
        try:
            asyncio.run(self._run_kopf(self._registry(loop), stop))
        except Exception as error:  # whatever it stumbles over, we go on
            log.warning("listening failed", why=f"{type(error).__name__}: {error}")
        finally:
            with suppress(RuntimeError):  # the loop has ended before us
                loop.call_soon_threadsafe(ended.set)

    async def _run_kopf(self, registry: kopf.OperatorRegistry, stop: threading.Event) -> None:
        await kopf.operator(
            registry=registry,
            settings=_settings(),
            standalone=True,
            clusterwide=not self._scope.namespaces,
            namespaces=self._scope.namespaces,
            stop_flag=stop,
        )
        await asyncio.sleep(_CLOSING_S)

    def _registry(self, loop: asyncio.AbstractEventLoop) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        credentials = self._credentials

        def log_in(**_: Any) -> kopf.ConnectionInfo:
            return credentials.read()

        async def notice(event: Mapping[str, Any], **_: Any) -> None:
            loop.call_soon_threadsafe(self._notice, event["type"], dict(event["object"]))

        kopf.on.login(registry=registry, retries=3)(log_in)
        for kind in self._scope.kinds:
            resource = resource_of(kind)
            kopf.on.event(
                resource.group, resource.version, resource.plural, registry=registry, id=kind
            )(notice)
        return registry

    def _notice(self, type_: str | None, raw: Raw) -> None:
        if type_ is None:  # of a list of kopf's own: its watch begins, or begins anew
            self._doubt.set()
        if self._picture.take_gone(raw) if type_ == "DELETED" else self._picture.take(raw):
            self._news.set()

    async def _hand_on(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._news.wait()
            until = loop.time() + _BURST_S
            while self._news.is_set() and loop.time() < until:
                self._news.clear()
                await asyncio.sleep(_QUIET_S)
            self._news.clear()
            if self._picture.whole:
                self.objects.put(self._picture.objects())


def _settings() -> kopf.OperatorSettings:
    logging.getLogger("kopf").setLevel(logging.CRITICAL)  # what there is to say, lists say
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True  # needs no right to list kinds and namespaces of the cluster
    settings.posting.enabled = False
    settings.networking.error_backoffs = (1, 2, 5)
    settings.networking.request_timeout = 60.0
    return settings
