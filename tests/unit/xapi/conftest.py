"""A host that speaks XAPI's wire, small enough to be wrong on purpose: each test says how."""

import asyncio
import contextlib
import datetime
import ipaddress
import json
import ssl
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from reconciler.xapi.client import XapiClient
from reconciler.xapi.deadlines import Deadlines

PASSWORD = "hunter2-canary"
QUICK = Deadlines(
    connect_s=2,
    login_s=3,
    read_s=3,
    write_s=3,
    listing_s=3,
    poll_margin_s=3,
    booting_s=3,
    close_s=1,
    first_byte_s=3,
    stall_s=1,
    finish_s=3,
    reason_s=0.3,
)
# No test waits so long; a machine that stands still is none of those that are waited for.
CALM = Deadlines(
    connect_s=600,
    login_s=600,
    read_s=600,
    write_s=600,
    listing_s=600,
    poll_margin_s=600,
    booting_s=600,
    close_s=600,
    first_byte_s=600,
    stall_s=600,
    finish_s=600,
    reason_s=600,
)


class Refuse(Exception):
    """Answer with an error: `raise Refuse("HANDLE_INVALID", "VM", ref)`."""


class Hangup(Exception):
    """Close the connection without an answer."""


GONE = (
    Hangup,
    ConnectionError,
    asyncio.IncompleteReadError,
    ssl.SSLError,
    asyncio.CancelledError,
)


@dataclass
class Ask:
    """One HTTP request outside the control plane."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    task: str = ""


Transfer = Callable[[Ask], Awaitable[None]]


def ref_of(kind: str = "") -> str:
    return f"OpaqueRef:{kind}{uuid.uuid4()}"


@dataclass
class Host:
    """One host. Handlers by method name win over what it can do by itself."""

    port: int = 0
    tls: ssl.SSLContext | None = None
    handlers: dict[str, Callable[..., Any]] = field(default_factory=dict)
    transfer: Transfer | None = None
    sessions: set[str] = field(default_factory=set)
    calls: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    addresses: list[str] = field(default_factory=lambda: ["127.0.0.1"])
    delay_s: float = 0.0
    running: int = 0
    running_max: int = 0
    connections: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    serving: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def called(self, method: str) -> int:
        return sum(1 for name, _ in self.calls if name == method)

    async def answer(self, method: str, params: list[Any]) -> Any:
        self.calls.append((method, tuple(params)))
        if method == "session.login_with_password":
            if (handler := self.handlers.get(method)) is not None:
                return await _result(handler(*params))
            if params[1] != PASSWORD:
                raise Refuse("SESSION_AUTHENTICATION_FAILED", params[0], "Authentication failure")
            session = ref_of("session-")
            self.sessions.add(session)
            return session
        if params[0] not in self.sessions:
            raise Refuse("SESSION_INVALID", params[0])
        if (handler := self.handlers.get(method)) is not None:
            return await _result(handler(*params[1:]))
        return self._usual(method, *params)

    def _usual(self, method: str, session: str, *params: Any) -> Any:
        match method, params:
            case "session.logout", _:
                self.sessions.discard(session)
                return ""
            case "host.get_all_records", _:
                return {
                    f"OpaqueRef:host-{address}": {"address": address, "uuid": str(uuid.uuid4())}
                    for address in self.addresses
                }
            case "task.create", _:
                ref = ref_of("task-")
                self.tasks[ref] = {
                    "status": "pending",
                    "progress": 0.0,
                    "result": "",
                    "error_info": [],
                }
                return ref
            case (("task.get_record" | "task.destroy" | "task.cancel"), (ref,)):
                if ref not in self.tasks:
                    raise Refuse("HANDLE_INVALID", "task", ref)
                if method == "task.get_record":
                    return self.tasks[ref]
                if method == "task.destroy":
                    del self.tasks[ref]
                return ""
        raise Refuse("MESSAGE_METHOD_UNKNOWN", method)

    def end_task(self, ref: str, *error: str, result: str = "") -> None:
        if ref in self.tasks:
            self.tasks[ref].update(
                status="failure" if error else "success", error_info=list(error), result=result
            )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        with contextlib.suppress(
            Hangup,
            ConnectionError,
            asyncio.IncompleteReadError,
            ssl.SSLError,
            asyncio.CancelledError,
        ):
            while await self._one(reader, writer):
                pass
        writer.close()
        self.serving.discard(task)

    async def stop(self) -> None:
        for task in list(self.serving):
            task.cancel()
        for writer in self.writers:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        parts = urlsplit(target)
        if parts.path != "/jsonrpc":
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            ask = Ask(method, parts.path, query, headers, reader, writer, query.get("task_id", ""))
            self.asks.append(ask)
            cookie = headers.get("cookie", "").removeprefix("session_id=")
            if cookie not in self.sessions:
                writer.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
                return False
            assert self.transfer is not None, "no transfer was expected"
            await self.transfer(ask)
            return False
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        try:
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            answer: dict[str, Any] = {"jsonrpc": "2.0", "id": body["id"]}
            try:
                answer["result"] = await self.answer(body["method"], body["params"])
            except Refuse as refusal:
                code, *params = refusal.args
                answer["error"] = {"code": 1, "message": code, "data": params}
        finally:
            self.running -= 1
        text = json.dumps(answer).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n" % len(text) + text
        )
        await writer.drain()
        return True


async def _result(value: Any) -> Any:
    return await value if asyncio.iscoroutine(value) else value


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for 127.0.0.1. path: PEM of certificate and key."""

    path: str
    pem: str
    fingerprint: str

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path)
        return context


@pytest.fixture(scope="session")
def make_certificate(tmp_path_factory):
    def make(address: str = "127.0.0.1") -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a host")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), False
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        path = tmp_path_factory.mktemp("tls") / "host.pem"
        path.write_bytes(
            pem
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return Certificate(str(path), pem.decode(), certificate.fingerprint(hashes.SHA256()).hex())

    return make


@pytest.fixture(scope="session")
def certificate(make_certificate):
    return make_certificate()


@pytest.fixture
async def start():
    """Start hosts; they are stopped at the end."""
    servers = []

    async def begin(address: str = "127.0.0.1", port: int = 0, **settings: Any) -> Host:
        host = Host(**settings)
        server = await asyncio.start_server(host.serve, address, port, ssl=host.tls)
        host.port = server.sockets[0].getsockname()[1]
        servers.append((server, host))
        return host

    yield begin
    for server, host in servers:
        server.close()
        await host.stop()


@pytest.fixture
async def host(start):
    return await start()


@pytest.fixture
async def connect():
    """Make clients; they are closed at the end."""
    clients = []

    def make(*hosts: Host | str, password: Callable[[], str] = lambda: PASSWORD, **settings: Any):
        urls = [host if isinstance(host, str) else host.url for host in hosts]
        client = XapiClient(urls, "root", password, **{"deadlines": CALM, **settings})
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
async def client(host, connect):
    return connect(host)


@pytest.fixture
def refuse():
    return Refuse


@pytest.fixture
def hangup():
    return Hangup


@pytest.fixture
def calm():
    """Deadlines that only what hangs for ever meets: those that clients here have."""
    return CALM


@pytest.fixture
def quick():
    return QUICK


@pytest.fixture
def password():
    return PASSWORD
