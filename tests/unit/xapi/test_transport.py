import asyncio
import socket

import pytest

from reconciler.xapi.deadlines import Deadlines
from reconciler.xapi.endpoint import Endpoint, parse_url
from reconciler.xapi.errors import BadAnswer, Unreachable
from reconciler.xapi.transport import AnswerLost, Transport
from reconciler.xapi.trust import Trust

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.fixture
async def transport():
    transport = Transport(Trust(), Deadlines(connect_s=1))
    yield transport
    await transport.close()


@pytest.fixture
async def serve():
    """Serve raw bytes: what is sent after a request, then the connection closes."""
    servers, requests = [], []

    async def begin(*pieces):
        async def talk(reader, writer):
            request = await reader.readuntil(b"}")
            requests.append(request)
            for piece in pieces:
                if piece is None:
                    await reader.read()
                else:
                    writer.write(piece)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        servers.append(server)
        return Endpoint(False, "127.0.0.1", server.sockets[0].getsockname()[1]), requests

    yield begin
    for server in servers:
        server.close()


async def post(transport, endpoint, deadline_s=2.0, answer_max=100):
    return await transport.post(endpoint, b"{}", deadline_s, answer_max)


async def test_a_request_is_plain_and_asks_for_no_compression(transport, serve):
    endpoint, requests = await serve(ANSWER)
    assert await post(transport, endpoint) == b"ok"
    request = requests[0].lower()
    assert request.startswith(b"post /jsonrpc http/1.1\r\n")
    assert b"accept-encoding: identity\r\n" in request
    assert b"content-length: 2\r\n" in request
    assert b"transfer-encoding" not in request


async def test_what_was_surely_not_sent_is_unreachable(transport):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        endpoint = Endpoint(False, "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(Unreachable):
            await post(transport, endpoint)
    with pytest.raises(Unreachable):
        await post(transport, parse_url("http://no-such-host.invalid"))


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok",),
        (b"HTTP/1.1 2",),
        (b"rubbish\r\n\r\n",),
    ],
    ids=["nothing", "half a body", "half a head", "no http"],
)
async def test_an_answer_that_ends_early_is_lost(transport, serve, pieces):
    endpoint, _ = await serve(*pieces)
    with pytest.raises(AnswerLost):
        await post(transport, endpoint)


async def test_an_answer_that_does_not_come_is_lost(transport, serve):
    endpoint, _ = await serve(None)
    with pytest.raises(AnswerLost, match="in time"):
        await post(transport, endpoint, deadline_s=0.05)


async def test_an_answer_too_large_is_a_bad_one(transport, serve):
    endpoint, _ = await serve(b"HTTP/1.1 200 OK\r\ncontent-length: 200\r\n\r\n" + b"x" * 200)
    with pytest.raises(BadAnswer, match="more than 100"):
        await post(transport, endpoint)


@pytest.mark.parametrize("status", [b"302 Found", b"500 Internal Error", b"401 Unauthorized"])
async def test_another_status_is_a_bad_answer(transport, serve, status):
    endpoint, _ = await serve(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")
    with pytest.raises(BadAnswer, match=status[:3].decode()):
        await post(transport, endpoint)
