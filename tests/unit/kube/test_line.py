"""A line is given up when a request on it did not end by itself, and closed with its last."""

import asyncio

import httpx
import pytest

from reconciler.kube.line import Line


class Server(httpx.AsyncBaseTransport):
    """Answers when it is told to. is_closed: nothing more is asked of it."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.asked = asyncio.Event()
        self.is_closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert not self.is_closed
        self.asked.set()
        await self.answers.wait()
        return httpx.Response(200, text="ok")

    async def aclose(self) -> None:
        self.is_closed = True


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def line(server: Server) -> Line:
    return Line(httpx.AsyncClient(transport=server, base_url="https://cluster"))


async def test_what_is_answered_keeps_the_line(server: Server, line: Line) -> None:
    server.answers.set()
    for _ in range(2):
        assert (await line.request(60.0, "GET", "/readyz")).text == "ok"
    assert not line.is_given_up
    await line.give_up()
    assert server.is_closed


async def test_a_request_that_takes_too_long_ends_the_line(server: Server, line: Line) -> None:
    with pytest.raises(TimeoutError):
        await line.request(0.01, "GET", "/readyz")
    assert line.is_given_up
    assert server.is_closed


async def test_a_caller_that_is_cancelled_ends_the_line_and_disturbs_no_other(
    server: Server, line: Line
) -> None:
    patient = asyncio.ensure_future(line.request(60.0, "GET", "/readyz"))
    hasty = asyncio.ensure_future(line.request(60.0, "GET", "/readyz"))
    await server.asked.wait()
    hasty.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hasty
    assert line.is_given_up
    assert not server.is_closed
    server.answers.set()
    assert (await patient).text == "ok"
    assert server.is_closed
