"""Finding the master and logging in: which hosts are asked, in which order, and what they say.

```
candidates: the last known master · the configured urls, in order · members learned from a master
    logged in            → done
    HOST_IS_SLAVE addr   → addr is asked next (same scheme and port)
    HOST_STILL_BOOTING   → the next candidate; after the last one, wait and begin again
    credentials refused  → stop at once: every further try brings a lock-out nearer
    unreachable          → the next candidate
```

The password goes to configured urls, and to addresses named by a host that was itself believed
(its certificate checked, where the url says https); never to any other.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from reconciler.xapi.endpoint import Endpoint
from reconciler.xapi.errors import (
    BadAnswer,
    Booting,
    CredentialsInvalid,
    HostIsSlave,
    Unreachable,
    Untrusted,
    XapiError,
    XapiFailure,
)

Pause = Callable[[float], Awaitable[None]]
TryLogin = Callable[[Endpoint], Awaitable[str]]
"""Log in at one host and return the session reference; raises XapiError."""

_HOPS_MAX = 64
_FIRST_PAUSE_S = 0.5
_PAUSE_MAX_S = 10.0
_REFUSED = frozenset({"SESSION_AUTHENTICATION_FAILED", "RBAC_PERMISSION_DENIED"})


@dataclass(frozen=True, slots=True)
class Session:
    """A login. ref: the secret itself. epoch: grows by one at each login of this client."""

    ref: str = field(repr=False)
    endpoint: Endpoint
    epoch: int


async def log_in(
    candidates: Iterable[Endpoint], try_login: TryLogin, booting_s: float, pause: Pause
) -> tuple[str, Endpoint]:
    """Return a session reference and the master's endpoint.

    Raises CredentialsInvalid, Untrusted, Booting, Unreachable or BadAnswer.
    """
    order = list(dict.fromkeys(candidates))
    waited_s, pause_s = 0.0, _FIRST_PAUSE_S
    while True:
        try:
            return await _one_round(order, try_login)
        except Booting:
            if waited_s >= booting_s:
                raise
        await pause(pause_s)
        waited_s += pause_s
        pause_s = min(pause_s * 2, _PAUSE_MAX_S)


async def _one_round(order: list[Endpoint], try_login: TryLogin) -> tuple[str, Endpoint]:
    queue = list(order)
    asked: set[Endpoint] = set()
    failures: list[XapiError] = []
    while queue and len(asked) < _HOPS_MAX:
        endpoint = queue.pop(0)
        if endpoint in asked:
            continue
        asked.add(endpoint)
        try:
            return await try_login(endpoint), endpoint
        except HostIsSlave as slave:
            try:
                queue.insert(0, endpoint.at(slave.master))
            except ValueError as error:
                failures.append(BadAnswer(f"{endpoint.url} names a master that is none: {error}"))
            else:
                failures.append(
                    Unreachable(f"{endpoint.url} is not the master, it says {slave.master} is")
                )
        except XapiFailure as failure:
            failures.append(_meaning(failure, endpoint))
        except (Unreachable, Untrusted, BadAnswer) as error:
            failures.append(error)
    raise _summary(failures)


def _meaning(failure: XapiFailure, endpoint: Endpoint) -> XapiError:
    if failure.code in _REFUSED:
        raise CredentialsInvalid(f"{endpoint.url} refuses the login: {failure}") from failure
    if failure.code == "HOST_STILL_BOOTING":
        return Booting(f"{endpoint.url} is still booting")
    return failure


def _summary(failures: list[XapiError]) -> XapiError:
    """One error for a round without success: the kind that is most use to a person."""
    text = "; ".join(dict.fromkeys(str(failure) for failure in failures))
    for kind in (Booting, Untrusted, Unreachable):
        if any(type(failure) is kind for failure in failures):
            return kind(text)
    return failures[0] if failures else Unreachable("no host to ask")


async def pause_for_real(seconds: float) -> None:
    """Wait by the machine's own time: networks know no other."""
    await asyncio.sleep(seconds)
