import asyncio
import ssl

import pytest

from reconciler.xapi.deadlines import Deadlines
from reconciler.xapi.endpoint import Endpoint
from reconciler.xapi.errors import StreamBroken, StreamStalled, StreamTruncated, Unreachable
from reconciler.xapi.streams import Link
from reconciler.xapi.threads import Threads

QUICK = Deadlines(connect_s=2, first_byte_s=2, stall_s=0.3, finish_s=0.3)
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.fixture
def threads():
    threads = Threads(2)
    yield threads
    threads.close()


@pytest.fixture
async def open_link(threads):
    """Open a link to a server that talks as it is told."""
    opened = []

    async def begin(talk):
        async def serve(reader, writer):
            opened.append(writer)
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        opened.append(server)
        endpoint = Endpoint(False, "127.0.0.1", server.sockets[0].getsockname()[1])
        link = await Link.open(endpoint, ssl.create_default_context(), threads, QUICK)
        opened.append(link)
        return link

    yield begin
    for each in opened:
        each.close()
        if isinstance(each, asyncio.StreamWriter):
            each.transport.abort()


def says(*pieces, stay=False):
    async def talk(reader, writer):
        for piece in pieces:
            writer.write(piece)
        await writer.drain()
        if stay:
            await reader.read()
        writer.close()

    return talk


async def read(link, count):
    view = memoryview(bytearray(count))
    await link.read_exactly(view)
    return bytes(view)


async def test_head_then_body_in_any_portions(open_link):
    content = bytes(range(256)) * 2000
    link = await open_link(says(HEAD + content))
    head = await link.exchange("GET", "/x?a=b", [("cookie", "c")])
    assert head.status == 200
    assert await link.peek(3) == content[:3]
    assert await link.peek(5) == content[:5]
    got, step = b"", 1
    while len(got) < len(content):
        got += await read(link, min(step, len(content) - len(got)))
        step *= 3
    assert got == content
    assert link.received_bytes == len(content)
    await link.expect_end()


async def test_header_names_are_in_lower_case(open_link):
    link = await open_link(says(b"HTTP/1.1 302 Found\r\nLOCATION: here\r\n\r\n"))
    head = await link.exchange("GET", "/", [])
    assert (head.status, head.reason, head.headers) == (302, "Found", {"location": "here"})


async def test_a_header_cannot_be_smuggled_in(open_link):
    link = await open_link(says(HEAD))
    with pytest.raises(Exception, match="llegal"):
        await link.exchange("GET", "/", [("cookie", "a\r\nevil: b")])


async def test_the_end_too_early_says_how_much_came(open_link):
    link = await open_link(says(HEAD + b"abc"))
    await link.exchange("GET", "/", [])
    with pytest.raises(StreamTruncated) as caught:
        await read(link, 10)
    assert (caught.value.wanted, caught.value.got) == (10, 3)


@pytest.mark.parametrize("count", [10, 200_000])
async def test_no_byte_for_too_long_is_a_stall(open_link, count):
    link = await open_link(says(HEAD + b"abc", stay=True))
    await link.exchange("GET", "/", [])
    await read(link, 3)
    with pytest.raises(StreamStalled):
        await read(link, count)


async def test_an_end_that_does_not_come_is_a_stall(open_link):
    link = await open_link(says(HEAD + b"abc", stay=True))
    await link.exchange("GET", "/", [])
    await read(link, 3)
    with pytest.raises(StreamStalled):
        await link.expect_end()


async def test_more_than_the_end_is_broken(open_link):
    link = await open_link(says(HEAD + b"abcd"))
    await link.exchange("GET", "/", [])
    await read(link, 3)
    with pytest.raises(StreamBroken, match="goes on"):
        await link.expect_end()


async def test_text_is_clipped_and_never_raises(open_link):
    link = await open_link(says(HEAD + b"x" * 100_000, stay=True))
    await link.exchange("GET", "/", [])
    assert len(await link.read_text(4096)) <= 4096


async def test_closing_under_a_read_ends_it_and_then_lets_go(open_link):
    link = await open_link(says(HEAD, stay=True))
    await link.exchange("GET", "/", [])
    reading = asyncio.create_task(read(link, 1 << 20))
    await asyncio.sleep(0.05)
    number = link._socket.fileno()
    link.close()
    assert link._socket.fileno() == number, "not under the running thread"
    with pytest.raises(StreamBroken):
        await reading
    assert link._socket.fileno() == -1


async def test_nobody_there_is_unreachable(threads):
    context = ssl.create_default_context()
    with pytest.raises(Unreachable):
        await Link.open(Endpoint(False, "127.0.0.1", 1), context, threads, QUICK)
    with pytest.raises(Unreachable):
        await Link.open(Endpoint(False, "no-such-host.invalid", 1), context, threads, QUICK)


async def test_no_tls_where_tls_should_be_is_unreachable(threads):
    async def serve(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    endpoint = Endpoint(True, "127.0.0.1", server.sockets[0].getsockname()[1])
    with pytest.raises(Unreachable):
        await Link.open(endpoint, ssl.create_default_context(), threads, QUICK)
    server.close()
