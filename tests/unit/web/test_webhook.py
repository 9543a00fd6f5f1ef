"""The endpoint over TLS: who asks rightly is answered, and nobody else holds it up."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from reconciler.web.certificate import Certificate
from reconciler.web.listen import Address, address_of, bind
from reconciler.web.webhook import Webhook

PATIENCE_S = 60.0
JSON = {"Content-Type": "application/json"}
LARGE = b'"' + b"x" * 200_000 + b'"'


async def echo(body: bytes) -> bytes | None:
    if body == b"broken":
        raise RuntimeError("a mistake of ours")
    return None if body == b"nonsense" else body


@asynccontextmanager
async def serving(secret: Path, body_bytes_max: int = 1 << 20) -> AsyncIterator[Address]:
    bound = bind(Address("127.0.0.1", 0))
    address = address_of(bound)
    webhook = Webhook(Certificate(secret, look_every_s=0.05), echo, body_bytes_max=body_bytes_max)
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        running = group.create_task(webhook.serve(bound))
        yield address
        running.cancel()


async def post(
    address: Address, trust: ssl.SSLContext, body: bytes = b"{}", path: str = "/validate", **headers
) -> httpx.Response:
    async with httpx.AsyncClient(verify=trust, timeout=PATIENCE_S) as client:
        url = f"https://{address}{path}"
        return await client.post(url, content=body, headers=JSON | headers)


async def answered(address: Address, trust: ssl.SSLContext, body: bytes = b"{}") -> httpx.Response:
    """Ask until there is an answer: the certificate is read beside the first connections."""
    while True:
        try:
            return await post(address, trust, body)
        except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):
            await asyncio.sleep(0.02)


async def test_a_review_is_answered(secret: Path, mount) -> None:
    trust = mount()
    async with serving(secret) as address:
        answer = await answered(address, trust, LARGE)
        assert (answer.status_code, answer.content) == (200, LARGE)
        assert answer.headers["content-type"] == "application/json"


async def test_what_is_asked_wrongly_is_refused(secret: Path, mount) -> None:
    trust = mount()
    async with serving(secret) as address:
        await answered(address, trust)
        assert (await post(address, trust, path="/")).status_code == 404
        assert (await post(address, trust, **{"Content-Type": "text/plain"})).status_code == 415
        assert (await post(address, trust, b"nonsense")).status_code == 400
        broken = await post(address, trust, b"broken")
        assert (broken.status_code, "mistake" in broken.text) == (500, False)
        async with httpx.AsyncClient(verify=trust, timeout=PATIENCE_S) as client:
            got = await client.get(f"https://{address}/validate")
            assert (got.status_code, got.headers["allow"]) == (405, "POST")
        assert (await post(address, trust)).status_code == 200


async def test_what_is_too_large_is_refused_whether_or_not_it_says_so(secret: Path, mount) -> None:
    trust = mount()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(16):
            yield b"x" * 65_536

    async with serving(secret, body_bytes_max=100_000) as address:
        await answered(address, trust)
        async with httpx.AsyncClient(verify=trust, timeout=PATIENCE_S) as client:
            for content in (LARGE, pieces()):
                try:
                    answer = await client.post(f"https://{address}/validate", content=content)
                except (httpx.ReadError, httpx.WriteError):
                    continue  # cut off: the rest was not read
                assert answer.status_code == 413
        assert (await post(address, trust, b'"' + b"x" * 90_000 + b'"')).status_code == 200


async def test_who_waits_to_be_told_to_go_on_is_told(secret: Path, mount) -> None:
    trust = mount()
    async with serving(secret) as address:
        await answered(address, trust)
        reader, writer = await asyncio.open_connection(address.host, address.port, ssl=trust)
        head = "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: 2\r\nExpect: 100-continue\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 100")
        writer.write(b"{}")
        assert b"200" in (await reader.read()).partition(b"HTTP/1.1 ")[2][:4]
        writer.close()


async def test_a_new_certificate_is_served_without_a_restart(secret: Path, mount) -> None:
    first = mount()
    async with serving(secret) as address:
        await answered(address, first)
        second = mount()
        assert (await answered(address, second)).status_code == 200
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await post(address, first)


async def test_without_a_certificate_it_waits_for_one(secret: Path, mount) -> None:
    async with serving(secret) as address:
        with pytest.raises(httpx.ConnectError):
            await post(address, ssl.create_default_context())
        assert (await answered(address, mount())).status_code == 200


@pytest.mark.parametrize(
    "nonsense",
    [
        b"POST /validate HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00" + b"\x01" * 512,
        b"\x00" * 1000,
        b"",
    ],
    ids=["in clear", "half a hello", "zeros", "nothing"],
)
async def test_who_speaks_no_tls_holds_up_nobody(secret: Path, mount, nonsense: bytes) -> None:
    trust = mount()
    async with serving(secret) as address:
        await answered(address, trust)
        idle = [await asyncio.open_connection(address.host, address.port) for _ in range(40)]
        for _, writer in idle:
            writer.write(nonsense)
        assert (await post(address, trust)).status_code == 200
        for _, writer in idle:
            writer.close()


async def test_tls_in_pieces_is_tls(secret: Path, mount) -> None:
    """One byte at a time, through a proxy."""
    trust = mount()
    async with serving(secret) as address:
        await answered(address, trust)

        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while piece := await reader.read(65_536):
                for byte in piece:
                    writer.write(bytes([byte]))
                    await writer.drain()
            writer.close()

        async def proxied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner_reader, inner_writer = await asyncio.open_connection(address.host, address.port)
            async with asyncio.TaskGroup() as group:
                group.create_task(drip(reader, inner_writer))
                group.create_task(drip(inner_reader, writer))

        async with await asyncio.start_server(proxied, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            assert (await post(Address(host, port), trust)).status_code == 200
