import asyncio
import logging

import pytest

from reconciler.xapi.errors import (
    BadAnswer,
    Booting,
    CredentialsInvalid,
    NotPermitted,
    OutcomeUnknown,
    Unreachable,
    Untrusted,
    XapiFailure,
)
from reconciler.xapi.trust import Pins, Trust, parse_fingerprints


def pinned(certificate):
    return Trust(pins=Pins(parse_fingerprints(certificate.fingerprint)))


async def test_a_call_logs_in_once_and_says_who_it_is(host, client, password):
    host.handlers["VM.get_all"] = lambda: ["OpaqueRef:1"]
    assert await client.call("VM.get_all") == ["OpaqueRef:1"]
    assert await client.call("VM.get_all") == ["OpaqueRef:1"]
    logins = [params for name, params in host.calls if name == "session.login_with_password"]
    assert logins == [("root", password, "1.0", "reconciler")]


async def test_callers_at_once_share_one_login(host, client):
    host.handlers["VM.get_all"] = lambda: []
    async with asyncio.TaskGroup() as group:
        for _ in range(30):
            group.create_task(client.call("VM.get_all"))
    assert host.called("session.login_with_password") == 1
    assert host.called("VM.get_all") == 30


async def test_connections_are_kept(host, client):
    host.handlers["VM.get_all"] = lambda: []
    for _ in range(10):
        await client.call("VM.get_all")
    assert host.connections == 1


async def test_no_more_than_twenty_calls_at_once(host, client):
    full, release = asyncio.Event(), asyncio.Event()

    async def wait():
        if host.running >= 20:
            full.set()
        await release.wait()
        return []

    host.handlers["VM.get_all"] = wait
    async with asyncio.TaskGroup() as group:
        for _ in range(60):
            group.create_task(client.call("VM.get_all"))
        await full.wait()
        release.set()
    assert host.running_max == 20
    assert host.called("VM.get_all") == 60


async def test_closing_logs_out(host, client):
    host.handlers["VM.get_all"] = lambda: []
    await client.call("VM.get_all")
    assert host.sessions
    await client.close()
    assert not host.sessions
    with pytest.raises(Unreachable):
        await client.call("VM.get_all")


async def test_closing_without_a_call_connects_to_nobody(host, client):
    await client.close()
    assert host.connections == 0


async def test_a_lost_session_is_renewed_for_a_read(host, client):
    host.handlers["VM.get_all"] = lambda: ["x"]
    await client.call("VM.get_all")
    host.sessions.clear()
    assert await client.call("VM.get_all") == ["x"]
    assert host.called("session.login_with_password") == 2


async def test_a_session_that_is_lost_again_is_not_renewed_for_ever(host, client, refuse):
    def lose():
        raise refuse("SESSION_INVALID", "x")

    host.handlers["VM.get_all"] = lose
    with pytest.raises(Exception, match="session is over"):
        await client.call("VM.get_all")
    assert host.called("VM.get_all") == 2


async def test_a_lost_session_leaves_a_change_unknown(host, client):
    host.handlers["VM.get_all"] = lambda: []
    host.handlers["Async.VM.snapshot"] = lambda *_: "OpaqueRef:task"
    await client.call("VM.get_all")
    host.sessions.clear()
    with pytest.raises(OutcomeUnknown):
        await client.call("Async.VM.snapshot", "vm", "name")
    assert host.called("Async.VM.snapshot") == 1
    assert await client.call("Async.VM.snapshot", "vm", "name") == "OpaqueRef:task"


async def test_a_read_survives_a_connection_that_dies(host, client, hangup):
    answers = iter([hangup(), ["x"]])

    def once():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    host.handlers["VM.get_all"] = once
    assert await client.call("VM.get_all") == ["x"]


async def test_a_change_whose_answer_is_lost_is_not_repeated(host, client, hangup):
    def die(*_):
        raise hangup

    host.handlers["Async.VM.snapshot"] = die
    with pytest.raises(OutcomeUnknown, match="may or may not"):
        await client.call("Async.VM.snapshot", "vm", "name")
    assert host.called("Async.VM.snapshot") == 1


async def test_a_change_without_an_answer_in_time_is_unknown(host, client):
    host.handlers["VM.add_tags"] = lambda *_: asyncio.sleep(30)
    with pytest.raises(OutcomeUnknown, match="no answer in time"):
        await client.call("VM.add_tags", "vm", "x", deadline_s=0.05)


async def test_a_failure_of_the_pool_is_raised_as_it_is(host, client, refuse):
    def refusal(*_):
        raise refuse("VM_BAD_POWER_STATE", "vm", "halted", "running")

    host.handlers["VM.destroy"] = refusal
    with pytest.raises(XapiFailure) as caught:
        await client.call("VM.destroy", "vm")
    assert caught.value.code == "VM_BAD_POWER_STATE"
    assert caught.value.params == ("vm", "halted", "running")


async def test_nobody_there_is_unreachable(connect):
    with pytest.raises(Unreachable):
        await connect("http://127.0.0.1:1").call("VM.get_all")


async def test_urls_are_tried_in_order(host, connect):
    host.handlers["VM.get_all"] = lambda: ["x"]
    client = connect("http://127.0.0.1:1", host)
    assert await client.call("VM.get_all") == ["x"]


async def test_a_slave_leads_to_the_master_with_scheme_and_port_kept(start, connect, refuse):
    master = await start("127.0.0.2")
    slave = await start("127.0.0.1", port=master.port)

    def is_slave(*_):
        raise refuse("HOST_IS_SLAVE", "127.0.0.2")

    slave.handlers["session.login_with_password"] = is_slave
    master.handlers["VM.get_all"] = lambda: ["x"]
    client = connect(slave)
    assert await client.call("VM.get_all") == ["x"]
    assert client.master.host == "127.0.0.2"
    assert client.master.port == slave.port


async def test_a_master_that_became_a_slave_is_left(start, connect, refuse):
    first = await start("127.0.0.1")
    second = await start("127.0.0.2", port=first.port)
    for each in (first, second):
        each.handlers["VM.add_tags"] = lambda *_: "done"
    client = connect(first)
    await client.call("VM.add_tags", "vm", "x")

    def is_slave(*_):
        raise refuse("HOST_IS_SLAVE", "127.0.0.2")

    first.handlers["VM.add_tags"] = is_slave
    first.handlers["session.login_with_password"] = is_slave
    assert await client.call("VM.add_tags", "vm", "x") == "done"
    assert second.called("VM.add_tags") == 1


async def test_slaves_that_name_each_other_end_in_an_error(start, connect, refuse):
    first = await start("127.0.0.1")
    second = await start("127.0.0.2", port=first.port)

    def slave_of(address):
        def is_slave(*_):
            raise refuse("HOST_IS_SLAVE", address)

        return is_slave

    first.handlers["session.login_with_password"] = slave_of("127.0.0.2")
    second.handlers["session.login_with_password"] = slave_of("127.0.0.1")
    with pytest.raises(Unreachable, match="not the master"):
        await connect(first).call("VM.get_all")


async def test_a_crafted_master_is_not_followed(host, client, refuse, password):
    def is_slave(*_):
        raise refuse("HOST_IS_SLAVE", "evil.example/x?")

    host.handlers["session.login_with_password"] = is_slave
    with pytest.raises(BadAnswer, match="master that is none"):
        await client.call("VM.get_all")


async def test_another_member_is_found_when_the_master_is_gone(start, connect):
    old = await start("127.0.0.1", addresses=["127.0.0.1", "127.0.0.2"])
    new = await start("127.0.0.2", port=old.port)
    old.handlers["VM.get_all"] = new.handlers["VM.get_all"] = lambda: ["x"]
    client = connect(old)
    await client.call("VM.get_all")
    client.drop(await client.session())

    def booting(*_):
        raise ConnectionResetError

    old.handlers["session.login_with_password"] = booting
    assert await client.call("VM.get_all") == ["x"]
    assert client.master.host == "127.0.0.2"


async def test_booting_hosts_are_waited_for(host, connect, refuse):
    waits = []

    async def pause(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            del host.handlers["session.login_with_password"]

    def booting(*_):
        raise refuse("HOST_STILL_BOOTING")

    host.handlers["session.login_with_password"] = booting
    host.handlers["VM.get_all"] = lambda: ["x"]
    assert await connect(host, pause=pause).call("VM.get_all") == ["x"]
    assert waits == [0.5, 1.0, 2.0]


async def test_booting_hosts_are_not_waited_for_for_ever(host, connect, refuse):
    async def pause(seconds):
        pass

    def booting(*_):
        raise refuse("HOST_STILL_BOOTING")

    host.handlers["session.login_with_password"] = booting
    with pytest.raises(Booting):
        await connect(host, pause=pause).call("VM.get_all")


async def test_a_refused_password_is_not_sent_again(host, connect):
    client = connect(host, password=lambda: "wrong-canary")
    for _ in range(5):
        with pytest.raises(CredentialsInvalid) as caught:
            await client.call("VM.get_all")
        assert "wrong-canary" not in str(caught.value)
    assert host.called("session.login_with_password") == 1


async def test_a_renewed_password_is_tried_at_once(host, connect, password):
    passwords = iter(["wrong", password])
    client = connect(host, password=lambda: next(passwords))
    host.handlers["VM.get_all"] = lambda: ["x"]
    with pytest.raises(CredentialsInvalid):
        await client.call("VM.get_all")
    assert await client.call("VM.get_all") == ["x"]


async def test_a_refused_password_is_not_taken_to_other_hosts(start, connect):
    first, second = await start(), await start()
    client = connect(first, second, password=lambda: "wrong")
    with pytest.raises(CredentialsInvalid):
        await client.call("VM.get_all")
    assert second.connections == 0


async def test_a_password_that_cannot_be_read_is_said(host, connect):
    def gone():
        raise FileNotFoundError(2, "No such file", "/run/secret")

    with pytest.raises(CredentialsInvalid, match="/run/secret"):
        await connect(host, password=gone).call("VM.get_all")


async def test_a_certificate_that_is_pinned_is_believed(start, connect, certificate):
    host = await start(tls=certificate.context())
    host.handlers["VM.get_all"] = lambda: ["x"]
    assert await connect(host, trust=pinned(certificate)).call("VM.get_all") == ["x"]


async def test_another_certificate_is_not_sent_a_byte(
    start, connect, certificate, make_certificate
):
    host = await start(tls=make_certificate().context())
    with pytest.raises(Untrusted, match=certificate.fingerprint):
        await connect(host, trust=pinned(certificate)).call("VM.get_all")
    assert not host.calls


async def test_without_a_pin_a_self_signed_certificate_is_refused(start, connect, certificate):
    host = await start(tls=certificate.context())
    with pytest.raises(Untrusted):
        await connect(host).call("VM.get_all")
    assert not host.calls


async def test_a_ca_file_vouches(start, connect, certificate, make_certificate, tmp_path):
    host = await start(tls=certificate.context())
    host.handlers["VM.get_all"] = lambda: ["x"]
    bundle = tmp_path / "ca.pem"
    bundle.write_text(certificate.pem)
    assert await connect(host, trust=Trust(ca=str(bundle))).call("VM.get_all") == ["x"]
    bundle.write_text(make_certificate().pem)
    with pytest.raises(Untrusted):
        await connect(host, trust=Trust(ca=str(bundle))).call("VM.get_all")


async def test_a_ca_file_that_is_not_there_is_said_and_can_come(
    start, connect, certificate, tmp_path
):
    host = await start(tls=certificate.context())
    host.handlers["VM.get_all"] = lambda: ["x"]
    bundle = tmp_path / "ca.pem"
    client = connect(host, trust=Trust(ca=str(bundle)))
    with pytest.raises(Untrusted, match=r"ca\.pem"):
        await client.call("VM.get_all")
    bundle.write_text(certificate.pem)
    assert await client.call("VM.get_all") == ["x"]


async def test_members_certificates_are_learned_from_a_pinned_master(
    start, connect, certificate, make_certificate, refuse
):
    other = make_certificate("127.0.0.2")
    master = await start(tls=certificate.context(), addresses=["127.0.0.1", "127.0.0.2"])
    member = await start("127.0.0.2", port=master.port, tls=other.context())
    pems = {"127.0.0.1": certificate.pem, "127.0.0.2": other.pem}
    master.handlers["host.get_server_certificate"] = lambda ref: pems[
        ref.removeprefix("OpaqueRef:host-")
    ]
    master.handlers["VM.get_all"] = member.handlers["VM.get_all"] = lambda: ["x"]
    client = connect(master, trust=pinned(certificate))
    await client.call("VM.get_all")

    def is_slave(*_):
        raise refuse("HOST_IS_SLAVE", "127.0.0.2")

    master.handlers["VM.get_all"] = is_slave
    assert await client.call("VM.get_all") == ["x"]


async def test_secrets_stay_inside(host, connect, caplog, refuse, password):
    caplog.set_level(logging.DEBUG)
    client = connect(host)
    session = await client.session()

    def leak_session(*_):
        raise refuse("INTERNAL_ERROR", f"in {session.ref}")

    def leak_password(*_):
        raise refuse("INTERNAL_ERROR", f"with {password}")

    host.handlers["VM.get_all"] = leak_session
    with pytest.raises(XapiFailure) as first:
        await client.call("VM.get_all")
    client.drop(session)
    host.handlers["session.login_with_password"] = leak_password
    with pytest.raises(XapiFailure) as second:
        await client.call("VM.get_all")
    texts = [str(first.value), repr(first.value), str(second.value), repr(second.value)]
    seen = " ".join([*texts, repr(client), repr(session), caplog.text])
    assert session.ref not in seen
    assert password not in seen


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 500 Internal Error\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
    ],
)
async def test_what_is_no_answer_is_said_to_be_none(connect, raw):
    async def serve(reader, writer):
        await reader.readuntil(b"}")
        writer.write(raw)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(BadAnswer):
        await connect(f"http://127.0.0.1:{port}").call("VM.get_all")
    server.close()


async def test_an_answer_without_end_is_cut_off(host, client, monkeypatch):
    monkeypatch.setattr("reconciler.xapi.client.answer_bytes_max", lambda method: 1000)
    host.handlers["VM.get_all"] = lambda: ["x" * 100_000]
    with pytest.raises(BadAnswer, match="more than 1000 bytes"):
        await client.call("VM.get_all")


async def test_proxies_of_the_environment_are_not_used(host, client, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    host.handlers["VM.get_all"] = lambda: ["x"]
    assert await client.call("VM.get_all") == ["x"]


async def test_whoever_does_not_lead_reads_and_changes_nothing(host, connect):
    leads = True
    client = connect(host, permit=lambda: leads)
    host.handlers |= {"VM.get_all": lambda: [], "VM.snapshot": lambda *_: "OpaqueRef:snapshot"}
    assert await client.call("VM.snapshot", "OpaqueRef:1", "name") == "OpaqueRef:snapshot"
    leads = False
    with pytest.raises(NotPermitted, match=r"VM\.snapshot: another operator leads"):
        await client.call("VM.snapshot", "OpaqueRef:1", "name")
    assert host.called("VM.snapshot") == 1
    assert await client.call("VM.get_all") == []


async def test_permission_is_asked_for_after_the_login_it_may_take(host, connect):
    leads = True

    def depose(*_):
        nonlocal leads
        leads = False
        return "OpaqueRef:session"

    host.handlers["session.login_with_password"] = depose
    client = connect(host, permit=lambda: leads)
    with pytest.raises(NotPermitted):
        await client.call("VM.destroy", "OpaqueRef:1")
    assert host.called("VM.destroy") == 0
