"""The server: polite to those who ask, and not to be held up by those who do not."""

import asyncio
import select
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import h11
import httpx
import pytest

from reconciler.web.listen import Address, address_of, bind, parse_address
from reconciler.web.server import Answer, Request, Server

PATIENCE_S = 60.0
LARGE = bytes(range(256)) * 4096 * 16  # 16 MiB: more than any socket's buffers hold


async def echo(request: Request) -> Answer:
    match request.path:
        case "/large":
            return Answer(200, LARGE, "application/octet-stream")
        case "/broken":
            raise ValueError("a mistake of ours")
        case _:
            return Answer(200, f"{request.method} {request.path}".encode(), "text/plain")


@asynccontextmanager
async def serving(
    answer: Callable[[Request], Awaitable[Answer]] = echo, **settings: float
) -> AsyncIterator[Address]:
    bound = bind(Address("127.0.0.1", 0))
    address = address_of(bound)
    server = Server(answer, **settings)  # type: ignore[arg-type]
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        running = group.create_task(server.serve(bound))
        yield address
        running.cancel()


async def get(address: Address, path: str, method: str = "GET") -> httpx.Response:
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        return await client.request(method, f"http://{address}{path}")


async def test_what_is_asked_is_answered() -> None:
    async with serving() as address:
        answer = await get(address, "/hello?and=more")
        assert (answer.status_code, answer.text) == (200, "GET /hello")
        assert answer.headers["connection"] == "close"
        assert (await get(address, "/large")).content == LARGE
        head = await get(address, "/large", "HEAD")
        assert (head.content, head.headers["content-length"]) == (b"", str(len(LARGE)))


async def test_nothing_can_be_changed() -> None:
    async with serving() as address:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            answer = await get(address, "/", method)
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_a_mistake_of_ours_is_one_answer_and_the_server_goes_on() -> None:
    async with serving() as address:
        broken = await get(address, "/broken")
        assert broken.status_code == 500
        assert "mistake" not in broken.text, "the log has it, not the answer"
        assert (await get(address, "/")).status_code == 200


async def raw(address: Address, *pieces: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("nonsense", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),  # TLS
        (b"GET / HTTP/1.1\r\n\r\n", b"400"),  # no host
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20_000, b"431"),
    ],
)
async def test_nonsense_is_refused(nonsense: bytes, status: bytes) -> None:
    async with serving() as address:
        answer = await raw(address, nonsense)
        assert not answer or answer.split()[1] == status  # or cut off: the rest was not read
        assert (await get(address, "/")).status_code == 200


async def test_who_is_slow_to_ask_is_cut_off() -> None:
    async with serving(request_s=0.2) as address:
        assert await raw(address) == b""
        assert await raw(address, b"GET / HTTP/1.1\r\n", b"Host: ") == b""


async def test_who_does_not_read_is_cut_off() -> None:
    async with serving(answer_s=0.3) as address:
        with socket.create_connection((address.host, address.port)) as client:
            client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            poll = select.poll()
            poll.register(client, select.POLLERR)  # a reset: nobody has anything left to send
            assert await asyncio.to_thread(poll.poll, PATIENCE_S * 1000)
        assert (await get(address, "/")).status_code == 200


async def test_those_who_only_wait_give_way() -> None:
    """Three hundred connections that never ask lock nobody out."""
    async with serving(connections_max=8, request_s=PATIENCE_S) as address:
        idle = [await asyncio.open_connection(address.host, address.port) for _ in range(300)]
        assert (await get(address, "/")).status_code == 200
        for _, writer in idle:
            writer.close()


async def test_those_who_are_answered_do_not_give_way() -> None:
    asked, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def slowly(_: Request) -> Answer:
        asked.release()
        await go_on.wait()
        return Answer(200, b"done", "text/plain")

    async with serving(slowly, connections_max=2) as address, asyncio.TaskGroup() as group:
        first = [group.create_task(get(address, "/")) for _ in range(2)]
        for _ in first:
            await asked.acquire()
        assert await raw(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == b"", "it is full"
        go_on.set()
        for each in first:
            assert (await each).text == "done"


async def test_it_ends_with_its_task_and_takes_its_connections_along() -> None:
    async with serving(request_s=PATIENCE_S) as address:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        assert (await get(address, "/")).status_code == 200
    with suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(address.host, address.port)


async def test_an_answer_is_http_to_the_letter() -> None:
    async with serving() as address:
        reply = await raw(address, b"GET /x HTTP/1.0\r\n\r\n")
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="GET", target="/x", headers=[("Host", "x")]))
        client.receive_data(reply)
        response = client.next_event()
        assert isinstance(response, h11.Response)
        assert dict(response.headers)[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("9190", "127.0.0.1", 9190),
        (":9190", "", 9190),
        ("0.0.0.0:0", "0.0.0.0", 0),
        ("[::1]:9190", "::1", 9190),
        ("metrics.example.net:80", "metrics.example.net", 80),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)


@pytest.mark.parametrize("text", ["", "x", "host:", "host:99999", "::1:9190", "9190 ", "host:-1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"IPv6|PORT"):
        parse_address(text)


async def test_all_addresses_are_all_of_them() -> None:
    bound = bind(Address("", 0))
    port = address_of(bound).port
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        running = group.create_task(Server(echo).serve(bound))
        assert (await get(Address("127.0.0.1", port), "/")).status_code == 200
        running.cancel()
