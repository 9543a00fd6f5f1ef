"""The lab's own HTTP handlers, for the owner's other processes. No real pool has them.

GET  /lab/machines                                       what `ls` shows
PUT  /lab/import   {"name", "images": [paths], …}        as `Lab.import_vm`
PUT  /lab/write?vm=&disk=&offset=                        the body is what the guest writes
PUT  /lab/write?vm=&disk=&offset=&random=SIZE            incompressible bytes
GET  /lab/read?vm=&disk=&offset=&count=                  what the guest would read
PUT  /lab/power?vm=&state=Running|Halted
PUT  /lab/coalesce                                       collect every SR now
PUT  /lab/kill?refuse_s=                                 kill the toolstack
"""

import json

from reconciler.lab import guest
from reconciler.lab.failures import LabError
from reconciler.lab.handlers import Answered, Handler, authenticate
from reconciler.lab.http import BadRequest, Request, answer, answer_json, refuse
from reconciler.lab.pool import Pool
from reconciler.lab.values import Value

_BODY_MAX = 1 << 20
_PIECE = 2 << 20
_READ_MAX = 64 << 20


def _owned(handler: Handler) -> Handler:
    """Only with the account's password or a session; the lab's complaints are 400s."""

    def guarded(pool: Pool, request: Request) -> None:
        authenticate(pool, request, "lab")
        try:
            handler(pool, request)
        except (LabError, BadRequest) as error:
            refuse(request, "400 Bad Request", str(error))
            raise Answered from None

    return guarded


def _number(request: Request, name: str) -> int:
    text = request.query.get(name, "0")
    if not text.isdigit() or len(text) > 18:
        raise BadRequest(f"{name} is a number of bytes")
    return int(text)


def _listing(pool: Pool, request: Request) -> None:
    machines: list[Value] = list(guest.machines(pool))
    answer_json(request, machines)


def _import(pool: Pool, request: Request) -> None:
    try:
        wish = json.loads(request.body(_BODY_MAX))
        name, paths = str(wish["name"]), [str(path) for path in wish["images"]]
        tags = [str(tag) for tag in wish.get("tags", [])]
        memory = int(wish.get("memory", 1 << 30))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadRequest('{"name": …, "images": [paths], "tags": […], "memory": bytes}') from None
    made = guest.import_machine(pool, name, paths, tags=tags, memory=memory)
    answer_json(request, {"uuid": made.uuid, "disks": list(made.disks)})


def _write(pool: Pool, request: Request) -> None:
    machine = guest.find_machine(pool, request.query.get("vm", ""))
    vdi = guest.find_disk(pool, machine, request.query.get("disk", "0"))
    offset = _number(request, "offset")
    if "random" in request.query:
        count = _number(request, "random")
        guest.write_random(pool, vdi, offset, count)
    else:
        length = request.content_length
        if length is None:
            raise BadRequest("Content-Length is required")
        count = length
        buffer = memoryview(bytearray(min(_PIECE, max(1, length))))
        while length:
            piece = buffer[: min(len(buffer), length)]
            request.connection.read_exactly(piece)
            guest.write(pool, vdi, offset, piece)
            offset, length = offset + len(piece), length - len(piece)
    answer_json(request, {"written": count, "vdi": vdi.text("uuid")})


def _read(pool: Pool, request: Request) -> None:
    machine = guest.find_machine(pool, request.query.get("vm", ""))
    vdi = guest.find_disk(pool, machine, request.query.get("disk", "0"))
    count = _number(request, "count")
    if count > _READ_MAX:
        raise BadRequest(f"at most {_READ_MAX} bytes at once")
    content = guest.read(pool, vdi, _number(request, "offset"), count)
    answer(request, content, "application/octet-stream", keep=False)


def _power(pool: Pool, request: Request) -> None:
    machine = guest.find_machine(pool, request.query.get("vm", ""))
    guest.set_power(pool, machine, request.query.get("state", ""))
    answer_json(request, {"state": machine.text("power_state")})


def _coalesce(pool: Pool, request: Request) -> None:
    answer_json(request, {"steps": pool.collect_now()})


def _kill(pool: Pool, request: Request) -> None:
    """The answer goes out first: the sockets are next."""
    try:
        refuse_s = float(request.query.get("refuse_s", "0"))
    except ValueError:
        raise BadRequest("refuse_s is a number of seconds") from None
    answer_json(request, {"refuse_s": refuse_s})
    pool.kill_toolstack(refuse_s)


ROUTES: dict[tuple[str, str], Handler] = {
    ("GET", "/lab/machines"): _owned(_listing),
    ("PUT", "/lab/import"): _owned(_import),
    ("PUT", "/lab/write"): _owned(_write),
    ("GET", "/lab/read"): _owned(_read),
    ("PUT", "/lab/power"): _owned(_power),
    ("PUT", "/lab/coalesce"): _owned(_coalesce),
    ("PUT", "/lab/kill"): _owned(_kill),
}
