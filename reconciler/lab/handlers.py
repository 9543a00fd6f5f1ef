"""What all HTTP handlers share: who may, which task, which host.

A handler adopts the task that the client made for it (or makes one), shows progress on it and
completes it, whatever happens. A disk that this host cannot see is somebody else's: 302.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from reconciler.lab.failures import Failure, device_error
from reconciler.lab.faults import Dropped
from reconciler.lab.http import Request, head, refuse
from reconciler.lab.pool import Pool
from reconciler.lab.values import NULL
from reconciler.lab.wire import Closed

Handler = Callable[[Pool, Request], None]


class Answered(Exception):
    """The request is answered already; nothing more to do."""


def authenticate(pool: Pool, request: Request, realm: str) -> None:
    """By a session, or by user and password for this one request; else 401."""
    ref = request.argument("session_id")
    credentials = request.credentials
    try:
        if ref or credentials is None:
            pool.sessions.check(ref)
        else:
            pool.sessions.require(*credentials)
    except Failure as failure:
        _deny(pool, request, realm, failure)


def _deny(pool: Pool, request: Request, realm: str, failure: Failure) -> None:
    task = request.argument("task_id")
    if task:
        pool.tasks.fail(task, failure)
    refuse(request, "401 Unauthorised", fields={"WWW-Authenticate": f'Basic realm="{realm}"'})
    raise Answered


@contextmanager
def transfer_task(pool: Pool, request: Request, label: str) -> Iterator[str]:
    """The task of a transfer. Completes it as failed for every error, and for `Answered` not.

    The work itself says `pool.tasks.succeed`.
    """
    ref = request.argument("task_id")
    if not ref:
        ref = pool.tasks.create(label, "", request.host).ref
    elif pool.database.find("task", ref) is None:
        refuse(request, "401 Unauthorised", f"HANDLE_INVALID task {ref}")
        raise Answered
    try:
        yield ref
    except Answered:
        raise
    except Failure as failure:
        pool.tasks.fail(ref, failure)
        raise
    except (OSError, Closed, Dropped):
        # Whatever goes wrong with the bytes is one error to XAPI.
        pool.tasks.fail(ref, device_error())
        raise
    except Exception as error:
        pool.tasks.fail(ref, Failure("INTERNAL_ERROR", f"{type(error).__name__}: {error}"))
        raise


def redirect_if_unseen(pool: Pool, request: Request, sr: str) -> None:
    """302 to a host that sees the SR, if this one does not; the task stays for that host."""
    if pool.sees(request.host, sr):
        return
    other = pool.host_seeing(sr)
    if other == NULL:
        raise Failure("SR_HAS_NO_PBDS", sr)
    address = pool.database.row("host", other).text("address")
    location = f"{pool.base_url(address)}{request.target}"
    fields = {"Location": location, "content-length": "0", "connection": "close"}
    request.connection.send(head("302 Found", fields))
    raise Answered


def refuse_encoding(pool: Pool, request: Request, task: str) -> None:
    """No handler takes a body without a length of its own."""
    encoding = request.headers.get("transfer-encoding")
    if encoding is not None:
        pool.tasks.fail(task, Failure("INTERNAL_ERROR", f"Cannot handle encoding: {encoding}"))
        refuse(request, "404 Not Found", version="HTTP/1.0")
        raise Answered
