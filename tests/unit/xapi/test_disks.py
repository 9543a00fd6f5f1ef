import asyncio
import contextlib
import os
import time
from dataclasses import replace

import pytest

from reconciler.xapi.disks import open_export
from reconciler.xapi.errors import (
    NotPermitted,
    OutcomeUnknown,
    StreamBroken,
    StreamRefused,
    StreamStalled,
    StreamTruncated,
    Unreachable,
    Untrusted,
    XapiFailure,
)
from reconciler.xapi.imports import import_vhd
from reconciler.xapi.trust import Pins, Trust, parse_fingerprints

VDI = "OpaqueRef:vdi"
CONTENT = os.urandom(3 * 1024 * 1024 + 17)
HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\ntask-id: OpaqueRef:x\r\n\r\n"


def sends(*pieces, error=()):
    """A transfer that sends these pieces, ends the task and closes."""

    def of(host):
        async def transfer(ask):
            for piece in pieces:
                ask.writer.write(piece)
                await ask.writer.drain()
            host.end_task(ask.task, *error)

        return transfer

    return of


async def read_all(stream, count, step=2 * 1024 * 1024 + 512):
    got = bytearray(count)
    view = memoryview(got)
    for at in range(0, count, step):
        await stream.read_exactly(view[at : at + step])
    return bytes(got)


async def export_whole(client, **settings):
    async with await open_export(client, VDI, **settings) as stream:
        got = await read_all(stream, len(CONTENT))
        await stream.finish()
        return got


async def test_an_export_comes_byte_for_byte(host, client):
    host.transfer = sends(HEAD, CONTENT)(host)
    assert await export_whole(client, base="OpaqueRef:base") == CONTENT
    (ask,) = host.asks
    assert ask.method == "GET"
    assert ask.path == "/export_raw_vdi"
    assert ask.query["format"] == "vhd"
    assert ask.query["vdi"] == VDI
    assert ask.query["base"] == "OpaqueRef:base"
    assert "session_id" not in ask.query
    assert ask.headers["cookie"].startswith("session_id=OpaqueRef:")
    assert host.tasks == {}, "its task is destroyed"


@pytest.mark.parametrize("split", [1, 10, len(HEAD) - 1, len(HEAD), len(HEAD) + 3])
async def test_head_and_body_may_come_in_any_pieces(host, client, split):
    wire = HEAD + CONTENT
    host.transfer = sends(wire[:split], wire[split : split + 700], wire[split + 700 :])(host)
    assert await export_whole(client) == CONTENT


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CONTENT) + CONTENT,
        b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + CONTENT,
        b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(
            b"%x\r\n" % len(piece) + piece + b"\r\n"
            for piece in (CONTENT[:5], CONTENT[5:100_000], CONTENT[100_000:])
        )
        + b"0\r\n\r\n",
    ],
    ids=["length", "continue", "1.0", "chunked"],
)
async def test_other_framings_are_understood(host, client, wire):
    host.transfer = sends(wire)(host)
    assert await export_whole(client) == CONTENT


async def test_tls_with_a_pin(start, connect, certificate):
    host = await start(tls=certificate.context())
    host.transfer = sends(HEAD, CONTENT)(host)
    trust = Trust(pins=Pins(parse_fingerprints(certificate.fingerprint)))
    assert await export_whole(connect(host, trust=trust)) == CONTENT


async def test_a_short_stream_is_truncated_with_the_tasks_reason(host, client):
    host.transfer = sends(HEAD, CONTENT[:1000], error=("VDI_IO_ERROR", "Device I/O errors"))(host)
    with pytest.raises(StreamTruncated, match="VDI_IO_ERROR") as caught:
        await export_whole(client)
    assert caught.value.got == 1000
    assert caught.value.failure is not None
    assert caught.value.failure.code == "VDI_IO_ERROR"
    assert host.tasks == {}


async def test_a_long_stream_is_broken(host, client):
    host.transfer = sends(HEAD, CONTENT, b"x")(host)
    with pytest.raises(StreamBroken, match="goes on"):
        await export_whole(client)


async def test_a_whole_stream_of_a_failed_task_is_no_success(host, client):
    host.transfer = sends(HEAD, CONTENT, error=("VDI_IO_ERROR", "Device I/O errors"))(host)
    with pytest.raises(XapiFailure, match="VDI_IO_ERROR"):
        await export_whole(client)


async def test_a_whole_stream_whose_task_is_gone_is_no_success(host, client):
    async def transfer(ask):
        ask.writer.write(HEAD + CONTENT)
        await ask.writer.drain()
        host.tasks.clear()

    host.transfer = transfer
    with pytest.raises(OutcomeUnknown, match="its task is gone"):
        await export_whole(client)


async def test_an_error_in_the_body_is_no_disk(host, client):
    text = (
        b"HTTP/1.1 500 Internal Error\r\nconnection: close\r\n\r\n<html><body>"
        b"<h1>Internal Error</h1> SR_BACKEND_FAILURE_46: [ ; The VDI is not available ]</body>"
    )
    host.transfer = sends(HEAD, text, error=("SR_BACKEND_FAILURE_46", "", "not available"))(host)
    with pytest.raises(StreamRefused, match="The VDI is not available") as caught:
        await export_whole(client)
    assert caught.value.failure.code == "SR_BACKEND_FAILURE_46"


async def test_an_empty_body_is_truncated(host, client):
    host.transfer = sends(HEAD, error=("INTERNAL_ERROR", "x"))(host)
    with pytest.raises(StreamTruncated):
        await export_whole(client)


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"HTT",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 30_000,
        b"HTTP/1.1 200 OK\r\nx" + b"a" * 100_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    ],
)
async def test_a_malformed_head_is_broken(host, client, wire):
    host.transfer = sends(wire, error=("X",))(host)
    with pytest.raises(StreamBroken):
        await export_whole(client)
    assert host.tasks == {}


async def test_a_refusal_says_why(host, client):
    wire = (
        b"HTTP/1.1 500 Internal Error\r\ncontent-length: 60\r\n\r\n"
        b"<html><body><h1>HTTP 500</h1>VDI is on fire</body></html>   "
    )
    host.transfer = sends(wire, error=("VDI_MISSING", "sr", "vdi"))(host)
    with pytest.raises(StreamRefused, match="VDI is on fire") as caught:
        await export_whole(client)
    assert caught.value.status == 500
    assert caught.value.failure.code == "VDI_MISSING"


async def test_a_stalled_stream_is_given_up(host, connect, quick):
    async def transfer(ask):
        ask.writer.write(HEAD + CONTENT[:100_000])
        await ask.writer.drain()
        await ask.reader.read()

    host.transfer = transfer
    with pytest.raises(StreamStalled):
        await export_whole(connect(host, deadlines=quick))


async def test_a_slow_stream_is_not_a_stalled_one(host, connect, calm):
    stall_s, longest_s = 0.2, 0.0

    async def transfer(ask):
        nonlocal longest_s
        longest_s, began_s = 0.0, time.monotonic()
        with contextlib.suppress(ConnectionError):
            for at in range(0, 12):
                ask.writer.write((HEAD if at == 0 else b"") + CONTENT[at * 10 : at * 10 + 10])
                await ask.writer.drain()
                await asyncio.sleep(0.05)
                now_s = time.monotonic()
                longest_s, began_s = max(longest_s, now_s - began_s), now_s
            host.end_task(ask.task)

    host.transfer = transfer
    big = memoryview(bytearray(120))
    while True:
        client = connect(host, deadlines=replace(calm, stall_s=stall_s))
        async with await open_export(client, VDI) as stream:
            try:
                await stream.read_exactly(big)
            except StreamStalled:
                await asyncio.sleep(stall_s)
                assert longest_s > stall_s / 2, "only a machine that stood still is an excuse"
                continue
            assert bytes(big) == CONTENT[:120]
            await stream.finish()
        break


@pytest.mark.parametrize("tls", [False, True])
async def test_cancelling_stops_the_transfer_at_once(start, connect, certificate, tls):
    host = await start(tls=certificate.context() if tls else None)
    reading, gone = asyncio.Event(), asyncio.Event()

    async def transfer(ask):
        ask.writer.write(HEAD + CONTENT[:100_000])
        await ask.writer.drain()
        reading.set()
        await ask.reader.read()
        gone.set()

    host.transfer = transfer
    trust = Trust(pins=Pins(parse_fingerprints(certificate.fingerprint)))
    client = connect(host, trust=trust)
    view = memoryview(bytearray(2 * 1024 * 1024))

    async def run():
        async with await open_export(client, VDI) as stream:
            await stream.read_exactly(view)

    task = asyncio.create_task(run())
    await reading.wait()
    await asyncio.sleep(0.05)
    task.cancel()  # the host would say nothing more for ever
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone.wait()
    view.release()  # raises BufferError if a thread still had it
    assert host.tasks == {}


async def test_aborting_twice_and_after_the_end_is_fine(host, client):
    host.transfer = sends(HEAD, CONTENT)(host)
    stream = await open_export(client, VDI)
    await read_all(stream, len(CONTENT))
    await stream.finish()
    await stream.abort()
    stream = await open_export(client, VDI)
    await stream.abort()
    await stream.abort()


async def test_closing_the_client_cuts_what_moves(host, connect, calm):
    async def transfer(ask):
        ask.writer.write(HEAD + CONTENT[:100])
        await ask.writer.drain()
        await ask.reader.read()

    host.transfer = transfer
    client = connect(host, deadlines=replace(calm, reason_s=0.3))
    stream = await open_export(client, VDI)
    reading = asyncio.create_task(read_all(stream, 1000))
    await asyncio.sleep(0.05)
    await client.close()
    with pytest.raises((StreamBroken, Unreachable)):
        async with asyncio.timeout(120):
            await reading
    await stream.abort()


async def test_a_redirect_within_the_pool_is_followed(start, connect):
    master = await start("127.0.0.1", addresses=["127.0.0.1", "127.0.0.2"])
    member = await start("127.0.0.2")
    member.sessions = master.sessions

    async def redirect(ask):
        location = f"http://127.0.0.2:{member.port}/ignored?by=us"
        ask.writer.write(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode())

    master.transfer = redirect
    member.tasks = master.tasks
    member.transfer = sends(HEAD, CONTENT)(master)
    assert await export_whole(connect(master)) == CONTENT
    assert member.asks[0].task == master.asks[0].task
    assert member.asks[0].path == "/export_raw_vdi"


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("http://127.0.0.9:1/x", "no host of this pool"),
        ("http://evil.example/x", "no host of this pool"),
        ("ftp://127.0.0.1/x", "no host"),
        ("", "no host"),
        ("/elsewhere", "no host"),
    ],
)
async def test_a_redirect_out_of_the_pool_is_not_followed(host, client, location, why):
    async def redirect(ask):
        ask.writer.write(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode())

    host.transfer = redirect
    with pytest.raises(StreamRefused, match=why):
        await export_whole(client)
    assert host.tasks == {}


async def test_a_redirect_in_a_circle_ends(host, client):
    async def redirect(ask):
        ask.writer.write(f"HTTP/1.1 302 Found\r\nLocation: {host.url}/\r\n\r\n".encode())

    host.transfer = redirect
    with pytest.raises(StreamRefused, match="more than"):
        await export_whole(client)


async def test_https_is_never_left_for_http(start, connect, certificate):
    plain = await start()
    master = await start(tls=certificate.context())

    async def redirect(ask):
        ask.writer.write(f"HTTP/1.1 302 Found\r\nLocation: {plain.url}/\r\n\r\n".encode())

    master.transfer = redirect
    trust = Trust(pins=Pins(parse_fingerprints(certificate.fingerprint)))
    with pytest.raises(StreamRefused, match="https"):
        await export_whole(connect(master, trust=trust))
    assert plain.connections == 0


async def test_a_member_with_another_certificate_is_not_believed(
    start, connect, certificate, make_certificate
):
    member = await start("127.0.0.2", tls=make_certificate("127.0.0.2").context())
    master = await start(tls=certificate.context(), addresses=["127.0.0.1", "127.0.0.2"])

    async def redirect(ask):
        location = f"https://127.0.0.2:{member.port}/"
        ask.writer.write(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode())

    master.transfer = redirect
    trust = Trust(pins=Pins(parse_fingerprints(certificate.fingerprint)))
    with pytest.raises(Untrusted):
        await export_whole(connect(master, trust=trust))
    assert not member.asks


async def test_a_renewed_certificate_is_learned_from_the_master(
    start, connect, certificate, make_certificate
):
    old, new = make_certificate("127.0.0.2"), make_certificate("127.0.0.2")
    member = await start("127.0.0.2", tls=new.context())
    master = await start(tls=certificate.context(), addresses=["127.0.0.1", "127.0.0.2"])
    pems = {"127.0.0.1": certificate.pem, "127.0.0.2": old.pem}
    master.handlers["host.get_server_certificate"] = lambda ref: pems[ref[15:]]
    member.sessions, member.tasks = master.sessions, master.tasks

    async def redirect(ask):
        location = f"https://127.0.0.2:{member.port}/"
        ask.writer.write(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode())

    master.transfer = redirect
    member.transfer = sends(HEAD, CONTENT)(master)
    trust = Trust(pins=Pins(parse_fingerprints(certificate.fingerprint)))
    client = connect(master, trust=trust)
    await client.session()
    pems["127.0.0.2"] = new.pem
    assert await export_whole(client) == CONTENT


async def test_a_transfer_logs_in_again_once(host, client):
    host.handlers["VM.get_all"] = lambda: []
    await client.call("VM.get_all")
    old = (await client.session()).ref

    def create(*_):
        host.sessions.discard(old)  # it ends between the task and the transfer
        return host._usual("task.create", "")

    host.handlers["task.create"] = create
    host.transfer = sends(HEAD, CONTENT)(host)
    assert await export_whole(client) == CONTENT
    assert host.called("session.login_with_password") == 2


async def pieces_of(content, step=300_000):
    for at in range(0, len(content), step):
        yield memoryview(content)[at : at + step]


def takes(got, error=(), take=None):
    def of(host):
        async def transfer(ask):
            ask.writer.write(HEAD)
            await ask.writer.drain()
            count = int(ask.headers["content-length"]) if take is None else take
            got.append(await ask.reader.readexactly(count))
            host.end_task(ask.task, *error, result="<value>OpaqueRef:vdi</value>")

        return transfer

    return of


@pytest.mark.parametrize("tls", [False, True])
async def test_an_import_goes_out_byte_for_byte(start, connect, certificate, tls):
    host = await start(tls=certificate.context() if tls else None)
    got, told = [], []
    host.transfer = takes(got)(host)
    client = connect(host, trust=Trust(pins=Pins(parse_fingerprints(certificate.fingerprint))))
    await import_vhd(client, VDI, len(CONTENT), pieces_of(CONTENT), on_sent=told.append)
    assert got == [CONTENT]
    assert sum(told) == len(CONTENT)
    (ask,) = host.asks
    assert (ask.method, ask.path) == ("PUT", "/import_raw_vdi")
    assert ask.query["vdi"] == VDI
    assert "transfer-encoding" not in ask.headers
    assert host.tasks == {}


async def test_an_import_is_what_its_task_says(host, client):
    host.transfer = takes([], error=("VDI_IO_ERROR", "Device I/O errors"))(host)
    with pytest.raises(XapiFailure, match="VDI_IO_ERROR"):
        await import_vhd(client, VDI, len(CONTENT), pieces_of(CONTENT))
    assert host.tasks == {}


async def test_an_import_that_is_cut_raises_the_tasks_error(host, client):
    host.transfer = takes([], error=("VDI_IO_ERROR", "no space"), take=1000)(host)
    big = bytes(64 * 1024 * 1024)
    with pytest.raises(XapiFailure, match="no space"):
        await import_vhd(client, VDI, len(big), pieces_of(big, 2 * 1024 * 1024))


async def test_an_import_follows_the_redirect_before_its_first_piece(start, connect):
    master = await start("127.0.0.1", addresses=["127.0.0.1", "127.0.0.2"])
    member = await start("127.0.0.2")
    member.sessions = master.sessions
    got = []

    async def redirect(ask):
        location = f"http://127.0.0.2:{member.port}/"
        ask.writer.write(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode())

    master.transfer = redirect
    member.transfer = takes(got)(master)
    await import_vhd(connect(master), VDI, len(CONTENT), pieces_of(CONTENT))
    assert got == [CONTENT]


async def test_an_import_ends_where_somebody_else_begins_to_lead(host, connect):
    leads = True

    async def pieces():
        nonlocal leads
        yield CONTENT[:1000]
        leads = False
        yield CONTENT[1000:]

    got = []
    host.transfer = takes(got, take=len(CONTENT))(host)
    with pytest.raises(NotPermitted, match="import of"):
        await import_vhd(connect(host, permit=lambda: leads), VDI, len(CONTENT), pieces())
    assert got == []
    assert host.tasks == {}


async def test_no_import_is_begun_where_somebody_else_leads(host, connect):
    with pytest.raises(NotPermitted):
        await import_vhd(connect(host, permit=lambda: False), VDI, 10, pieces_of(bytes(10)))
    assert host.called("task.create") == 0


@pytest.mark.parametrize("off", [-1, 1])
async def test_pieces_that_do_not_make_the_length_are_refused(host, client, off):
    host.transfer = takes([])(host)
    with pytest.raises(ValueError, match="announced"):
        await import_vhd(client, VDI, len(CONTENT) + off, pieces_of(CONTENT))
    assert host.tasks == {}


async def test_cancelling_an_import_stops_it(host, client):
    begun, stopping, gone = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def transfer(ask):
        ask.writer.write(HEAD)
        await ask.writer.drain()
        await ask.reader.readexactly(10)
        begun.set()
        await stopping.wait()
        with contextlib.suppress(ConnectionError):
            while await ask.reader.read(1 << 16):
                pass
        gone.set()

    host.transfer = transfer
    big = bytes(64 * 1024 * 1024)
    task = asyncio.create_task(import_vhd(client, VDI, len(big), pieces_of(big, 2 << 20)))
    await begun.wait()
    task.cancel()  # the host reads nothing more until we are done
    with pytest.raises(asyncio.CancelledError):
        await task
    stopping.set()
    async with asyncio.timeout(120):
        await gone.wait()
    assert host.tasks == {}


async def test_many_streams_at_once(host, client):
    host.transfer = sends(HEAD, CONTENT)(host)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(export_whole(client)) for _ in range(30)]
    assert all(task.result() == CONTENT for task in tasks)
