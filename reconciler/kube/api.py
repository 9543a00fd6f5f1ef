"""Calls to the API server: what kopf is not asked for, because kopf only listens.

One HTTP client at a time, of one event loop. Each call has a deadline and ends in an answer
or in one of `errors.py`. A refused login is found anew once and tried again. Knows objects as the
server gives them, and nothing of what they mean.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx

from reconciler.kube.errors import (
    BadAnswer,
    Expired,
    LoginRefused,
    NotPermitted,
    Unreachable,
    error_of,
)
from reconciler.kube.line import Line
from reconciler.kube.login import Credentials, NoLogin
from reconciler.kube.resources import Resource

Raw: TypeAlias = dict[str, Any]
"""An object as JSON has it: what is in it is somebody else's schema."""

Hold: TypeAlias = Callable[[Raw], Mapping[str, Any]]

FIELD_MANAGER = "reconciler"

_MERGE = "application/merge-patch+json"
_CHUNK = 500  # objects of one answer to a list: bounds the server's memory and ours
_LISTS_MAX = 3  # begun anew because the server forgot the rest of the last one
_MESSAGE_MAX = 600


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects that there were at one version."""

    items: tuple[Mapping[str, Any], ...]
    version: str


class KubeApi:
    """calls: how many there were, by verb and plural, such as ("patch", "backupjobs/status").

    permit: asked right before anything is changed; what it refuses raises NotPermitted. None: it
    always may be.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        deadline_s: float = 30.0,
        connections_max: int = 16,
        permit: Callable[[], bool] | None = None,
    ) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self._credentials = credentials
        self._permit = permit
        self._deadline_s = deadline_s
        self._limits = httpx.Limits(max_connections=connections_max)
        self._line: Line | None = None
        self._logging_in = asyncio.Lock()

    async def close(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            await line.give_up()

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Raw:
        return await self._call("GET", "get", resource, resource.path(namespace, name))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        selector: str = "",
        hold: Hold = lambda item: item,
    ) -> Listing:
        """List a namespace, or all of them (None); each item says its apiVersion and kind.

        selector: of labels, as kubectl has it. hold: says of each item, as it arrives, what is held
        of it, so that a long list does not take the memory of all that the server says.
        """
        for _ in range(_LISTS_MAX - 1):
            try:
                return await self._list(resource, namespace, selector, hold)
            except Expired:
                continue
        return await self._list(resource, namespace, selector, hold)

    async def create(self, resource: Resource, namespace: str | None, body: Raw) -> Raw:
        return await self._call(
            "POST",
            "create",
            resource,
            resource.path(namespace),
            body,
            {"fieldManager": FIELD_MANAGER},
        )

    async def merge(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Raw,
        *,
        subresource: str = "",
    ) -> Raw:
        """Merge fields in (RFC 7386): null removes, lists are replaced whole.

        A `metadata.uid` or `resourceVersion` in `body` must be the object's: else Conflict.
        """
        path = resource.path(namespace, name, subresource)
        return await self._call(
            "PATCH",
            "patch",
            resource,
            path,
            body,
            {"fieldManager": FIELD_MANAGER},
            _MERGE,
            subresource,
        )

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        propagation: str = "Background",
    ) -> None:
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        await self._call("DELETE", "delete", resource, resource.path(namespace, name), body)

    # ── one exchange ──

    async def _list(
        self, resource: Resource, namespace: str | None, selector: str, hold: Hold
    ) -> Listing:
        items: list[Mapping[str, Any]] = []
        params = {"limit": str(_CHUNK)} | ({"labelSelector": selector} if selector else {})
        while True:
            answer = await self._call(
                "GET", "list", resource, resource.path(namespace), params=params
            )
            metadata = answer.get("metadata") or {}
            kind = str(answer.get("kind", "")).removesuffix("List")
            items += [
                hold({"apiVersion": answer.get("apiVersion"), "kind": kind, **item})
                for item in answer.get("items") or ()
            ]
            following = metadata.get("continue")
            if not following:
                return Listing(tuple(items), str(metadata.get("resourceVersion", "")))
            params["continue"] = following

    async def _call(
        self,
        method: str,
        verb: str,
        resource: Resource,
        path: str,
        body: Raw | None = None,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        subresource: str = "",
    ) -> Raw:
        part = f"/{subresource}" if subresource else ""
        self.calls[verb, f"{resource.plural}{part}"] += 1
        content = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json", "User-Agent": FIELD_MANAGER}
        if content is not None:
            headers["Content-Type"] = content_type
        what = f"{verb} {path}"
        line = await self._logged_in()
        if method != "GET" and self._permit is not None and not self._permit():
            raise NotPermitted(f"{what}: another operator leads")
        try:
            return await self._exchange(line, method, path, params, content, headers, what)
        except LoginRefused:
            await line.give_up()
            line = await self._logged_in()
            return await self._exchange(line, method, path, params, content, headers, what)

    async def _exchange(
        self,
        line: Line,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        content: bytes | None,
        headers: Mapping[str, str],
        what: str,
    ) -> Raw:
        try:
            answer = await line.request(
                self._deadline_s, method, path, params=params, content=content, headers=headers
            )
        except TimeoutError as error:
            raise Unreachable(f"{what}: no answer within {self._deadline_s:.0f} s") from error
        except (httpx.HTTPError, OSError) as error:
            raise Unreachable(f"{what}: {str(error) or type(error).__name__}") from error
        if answer.is_success:
            return _json_of(answer, what)
        raise error_of(
            answer.status_code,
            f"{what}: {_message_of(answer)}",
            answer.headers.get("Retry-After"),
        )

    async def _logged_in(self) -> Line:
        """Return a line that is not given up, opening one with whatever the login is now."""
        async with self._logging_in:
            if self._line is not None and not self._line.is_given_up:
                return self._line
            try:
                access = await asyncio.to_thread(self._credentials.access)
            except NoLogin as error:
                raise Unreachable(str(error)) from error
            self._line = Line(
                httpx.AsyncClient(
                    base_url=access.server,
                    headers=access.headers,
                    verify=access.verify,
                    proxy=access.proxy,
                    limits=self._limits,
                    timeout=self._deadline_s,
                    trust_env=False,
                )
            )
            return self._line


def _json_of(answer: httpx.Response, what: str) -> Raw:
    try:
        value = answer.json()
    except ValueError as error:
        raise BadAnswer(f"{what}: the answer is no JSON", status=answer.status_code) from error
    if not isinstance(value, dict):
        raise BadAnswer(f"{what}: the answer is no object", status=answer.status_code)
    return value


def _message_of(answer: httpx.Response) -> str:
    """Take the server's own words, from a Status object if it sent one."""
    try:
        status = answer.json()
        text = str(status["message"]) if isinstance(status, dict) else answer.text
    except (ValueError, KeyError):
        text = answer.text
    return f"{answer.status_code} {text[:_MESSAGE_MAX].strip()}"
