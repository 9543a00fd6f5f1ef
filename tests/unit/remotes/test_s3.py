"""An S3 server that answers as it is told: what no real one does when one asks for it."""

import asyncio
import contextlib
import dataclasses
import traceback
from dataclasses import dataclass, field

import pytest

from reconciler.clock import SystemClock
from reconciler.remotes.errors import (
    Denied,
    Exists,
    Missing,
    NoSpace,
    RemoteError,
    TooLarge,
    Unavailable,
)
from reconciler.remotes.places import S3Place
from reconciler.remotes.s3 import S3Remote
from reconciler.remotes.s3_file import runs_of
from reconciler.remotes.s3_store import Asking, open_store
from reconciler.remotes.s3_upload import part_bytes

ACCESS, SECRET = "access-key-of-mine", "secret-key-of-mine"
EMPTY_LIST = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Scripted:
    """answer: gives (status, headers, body) for a request; None: says nothing, for ever."""

    answer: object = None
    requests: list[Request] = field(default_factory=list)
    endpoint: str = ""

    async def serve(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in lines if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                method, path, _ = first.split(" ")
                request = Request(method, path, headers, body)
                self.requests.append(request)
                said = self.answer(request)
                if said is None:
                    await asyncio.Event().wait()
                status, extra, content = said
                length = extra.pop("content-length", len(content))
                told = "".join(f"{name}: {value}\r\n" for name, value in extra.items())
                writer.write(
                    f"HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{told}\r\n".encode()
                    + (b"" if method == "HEAD" else content)
                )
                await writer.drain()
                if length != len(content):
                    return


@pytest.fixture
async def scripted():
    script = Scripted()
    tasks = set()

    async def serve(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            await script.serve(reader, writer)
        except asyncio.CancelledError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    script.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield script
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks or {asyncio.create_task(asyncio.sleep(0))})
    await server.wait_closed()


def place_at(endpoint: str, **more) -> S3Place:
    return S3Place("cellar", ACCESS, lambda: SECRET, endpoint, prefix="below", **more)


async def remote_at(script: Scripted, **more) -> S3Remote:
    """Attached read-only, then as if it were writable: without a probe in between."""
    script.answer = lambda request: (200, {}, EMPTY_LIST)
    remote = await S3Remote.attach("cellar", place_at(script.endpoint), read_only=True, **more)
    remote._read_only = False
    script.requests.clear()
    return remote


def fault(status: int, code: str, more: str = ""):
    body = f"<Error><Code>{code}</Code><Message>m</Message>{more}</Error>".encode()
    return lambda request: (status, {}, body)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", Denied),
        (403, "SignatureDoesNotMatch", Denied),
        (403, "QuotaExceeded", NoSpace),
        (404, "NoSuchKey", Missing),
        (404, "NoSuchBucket", Unavailable),
        (400, "EntityTooLarge", TooLarge),
        (400, "Whatever", Unavailable),
        (409, "OperationAborted", Unavailable),
        (412, "PreconditionFailed", Unavailable),
    ],
)
async def test_what_the_server_says_is_understood_and_not_repeated(scripted, status, code, kind):
    remote = await remote_at(scripted)
    scripted.answer = fault(
        status, code, f"<AWSAccessKeyId>{ACCESS}</AWSAccessKeyId><S>{SECRET}</S>"
    )
    for attempt in (remote.get("f", 10), remote.put("f", b"x")):
        with pytest.raises(RemoteError) as raised:
            await attempt
        assert type(raised.value) is kind
        told = "".join(traceback.format_exception(raised.value))
        assert ACCESS not in told
        assert SECRET not in told
        assert code in str(raised.value) or kind is Unavailable


async def test_a_bucket_that_is_gone_is_not_an_empty_one(scripted):
    remote = await remote_at(scripted)
    scripted.answer = fault(404, "NoSuchBucket")
    for attempt in (remote.list("d"), remote.list(""), remote.get("f", 10), remote.delete("f")):
        with pytest.raises(Unavailable, match="bucket"):
            await attempt
    with pytest.raises(Unavailable, match="bucket"):
        await S3Remote.attach("cellar", place_at(scripted.endpoint), read_only=True)


async def test_a_server_that_is_overloaded_for_a_moment_is_asked_again(scripted):
    remote = await remote_at(scripted)
    ok = (200, {"etag": '"1"'}, b"")

    def answer(request):
        slow = len(scripted.requests) < 3
        return (503, {}, b"<Error><Code>SlowDown</Code></Error>") if slow else ok

    scripted.answer = answer
    await remote.put("f", b"content")
    assert [request.body for request in scripted.requests] == [b"content"] * 3


async def test_a_try_that_meets_its_own_first_half_has_won(scripted):
    """The server stored the object, then failed; asked again, it says that the name is taken."""
    remote = await remote_at(scripted)
    remote._traits = dataclasses.replace(remote.traits, exclusive=True)
    stored = {}

    def answer(request):
        if request.method == "PUT":
            assert request.headers["if-none-match"] == "*"
            if stored:
                return 412, {}, b"<Error><Code>PreconditionFailed</Code></Error>"
            stored.update(
                {
                    name: value
                    for name, value in request.headers.items()
                    if name.startswith("x-amz-meta")
                }
            )
            return 500, {}, b""
        head = {"etag": '"1"', "last-modified": "Mon, 23 Nov 2026 09:41:03 GMT"}
        return 200, {**head, **stored}, b""

    scripted.answer = answer
    await remote.put_new("f", b"ours")
    for name in stored:
        stored[name] = "somebody-else"
    with pytest.raises(Exists):
        await remote.put_new("f", b"ours")


async def test_a_server_that_says_nothing_is_left_at_once(scripted):
    remote = await remote_at(scripted)
    scripted.answer = lambda request: None
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def upload():
        async with remote.upload("f") as upload:
            for _ in range(40):
                await upload.write(bytes(2**20))

    ticking = asyncio.create_task(tick())
    for attempt in (
        remote.get("f", 10),
        remote.put("f", bytes(4 * 2**20)),
        remote.list(""),
        remote.touch("d"),
        remote.copy("a", "b"),
        upload(),
    ):
        attempting, began = asyncio.ensure_future(attempt), ticks
        while ticks < began + 20:  # the loop runs on  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert not attempting.done()
        attempting.cancel()
        # The upload waits for five seconds whether the server takes back what was sent.
        done, _ = await asyncio.wait({attempting}, timeout=120)
        assert done
        assert attempting.cancelled()
    ticking.cancel()


async def test_every_call_has_a_deadline():
    with pytest.raises(Unavailable, match="no answer within"):
        await Asking("cellar").ask("f", asyncio.Event().wait, 0.05)


async def test_a_download_that_breaks_off_does_not_end_well(scripted):
    remote = await remote_at(scripted)
    head = {"etag": '"1"', "last-modified": "Mon, 23 Nov 2026 09:41:03 GMT"}

    def answer(request):
        if "range" in request.headers or len(scripted.requests) > 1:
            return 403, {}, b""
        return 200, {**head, "content-length": 1000}, b"only this"

    scripted.answer = answer

    pieces = []
    with pytest.raises(RemoteError):
        async with remote.download("f") as coming:
            async for piece in coming:
                pieces.append(bytes(piece))
    assert b"".join(pieces) in (b"", b"only this")


async def test_the_environment_of_other_programs_is_not_ours(scripted, monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "somebody's",
        "AWS_SESSION_TOKEN": "token-of-somebody",
        "AWS_REGION": "eu-south-2",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_BUCKET": "another",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "AWS_UNSIGNED_PAYLOAD": "true",
    }.items():
        monkeypatch.setenv(name, value)
    remote = await remote_at(scripted)
    scripted.answer = lambda request: (200, {"etag": '"1"'}, b"")
    await remote.put("d/f", b"x")
    (request,) = scripted.requests
    assert request.path == "/cellar/below/d/f"
    assert f"Credential={ACCESS}/" in request.headers["authorization"]
    assert "/us-east-1/s3/" in request.headers["authorization"]
    assert "x-amz-security-token" not in request.headers
    assert len(request.headers["x-amz-content-sha256"]) == 64


def test_plain_http_is_for_this_machine_or_by_request():
    clock = SystemClock()
    for host in ("127.0.0.1:9000", "localhost", "[::1]:80"):
        open_store("cellar", place_at(f"http://{host}"), clock)
    for host in ("10.0.0.1", "s3.example.org", "127.0.0.1.example.org", "localhost.example.org"):
        with pytest.raises(Denied, match="plain http"):
            open_store("cellar", place_at(f"http://{host}"), clock)
        open_store("cellar", place_at(f"http://{host}", plain_http=True), clock)
    for endpoint in ("ftp://x", "s3.example.org", "https://", "https://me:secret@s3.example.org"):
        with pytest.raises(RemoteError) as raised:
            open_store("cellar", place_at(endpoint), clock)
        assert "secret" not in str(raised.value)


def test_a_place_shows_no_secret():
    assert SECRET not in repr(place_at("https://s3.example.org"))


def test_ten_thousand_parts_are_enough():
    for size in (1, 2**30, 74 * 2**30, 2**40, 5 * 2**40):
        parts = -(-size // part_bytes(size))
        assert parts <= 10_000
        assert part_bytes(size) >= 8 * 2**20
    assert part_bytes(74 * 2**30) == 8 * 2**20
    assert part_bytes(0) * 10_000 >= 200 * 2**30


async def test_an_upload_larger_than_its_parts_allow_is_refused_and_stays_so(scripted, monkeypatch):
    monkeypatch.setattr("reconciler.remotes.s3_upload._PARTS_MAX", 1)
    remote = await remote_at(scripted)
    with pytest.raises(Unavailable):
        async with remote.upload("f", size_expected=1) as upload:
            with pytest.raises(TooLarge):
                await upload.write(bytes(9 * 2**20))
    assert scripted.requests == []


def test_reads_near_one_another_are_one():
    near, far = 256 * 1024, 10 * 2**20
    assert list(runs_of([], 512)) == []
    assert list(runs_of([512, 0, 512], 512)) == [[0, 512]]
    assert list(runs_of([0, 512 + near], 512)) == [[0, 512 + near]]
    assert list(runs_of([0, 513 + near], 512)) == [[0], [513 + near]]
    assert list(runs_of([0, far], 512)) == [[0], [far]]
    dense = list(range(0, 20 * 2**20, 4096))
    assert [offset for run in runs_of(dense, 4096) for offset in run] == dense
    assert all(run[-1] + 4096 - run[0] <= 8 * 2**20 for run in runs_of(dense, 4096))


class Short:
    """What the library would give if it took a broken connection for the end."""

    def __init__(self):
        self.meta = {"size": 10}

    async def _pieces(self):
        yield b"only this"

    def stream(self, min_chunk_size):
        return self._pieces()


async def test_an_end_that_comes_too_early_is_no_end(scripted):
    remote = await remote_at(scripted)
    with pytest.raises(Unavailable, match="last 1 bytes"):
        [piece async for piece in remote._pieces("f", Short())]
