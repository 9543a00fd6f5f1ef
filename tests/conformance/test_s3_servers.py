"""What differs between S3 servers, and what must not."""

import asyncio
import dataclasses
import datetime
import ipaddress
import urllib.request

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from s3_servers import ACCESS_KEY, BUCKET, SECRET_KEY, rclone_server

from reconciler.remotes.errors import Denied, Missing, Unavailable
from reconciler.remotes.s3 import S3Remote

MIB = 1024 * 1024


def unfinished(server) -> str:
    """The server's list of uploads that are neither complete nor taken back."""
    with urllib.request.urlopen(f"{server.endpoint}/{BUCKET}?uploads", timeout=120) as answer:
        return answer.read().decode()


async def test_conditions_are_honoured_or_known_not_to_be(moto, rclone, s3_place):
    honours = await S3Remote.attach("cellar", s3_place(moto, "probe"))
    assert honours.traits.exclusive
    ignores = await S3Remote.attach("cellar", s3_place(rclone, "probe"))
    assert not ignores.traits.exclusive


async def test_nothing_is_probed_where_nothing_may_be_written(moto, s3_place):
    remote = await S3Remote.attach("cellar", s3_place(moto, "untouched"), read_only=True)
    assert not remote.traits.exclusive
    assert await remote.list("") == []
    for attempt in (
        remote.put("f", b""),
        remote.put_new("f", b""),
        remote.delete("f"),
        remote.copy("f", "g"),
        remote.make_directory("d"),
        remote.remove_directory("d"),
        remote.touch("d"),
    ):
        with pytest.raises(Denied):
            await attempt
    with pytest.raises(Denied):
        async with remote.upload("f"):
            pass


async def test_an_upload_given_up_is_taken_back(moto, s3_place):
    remote = await S3Remote.attach("cellar", s3_place(moto, "given-up"))
    begun = asyncio.Event()

    async def upload() -> None:
        async with remote.upload("big") as upload:
            while True:
                await upload.write(bytes(MIB))
                if "<Upload>" in await asyncio.to_thread(unfinished, moto):
                    begun.set()

    task = asyncio.create_task(upload())
    async with asyncio.timeout(120):
        await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "<Upload>" not in unfinished(moto)
    with pytest.raises(Missing):
        await remote.stat("big")


async def test_a_wrong_secret_is_said_and_not_shown(rclone, s3_place):
    wrong = "another-secret-key"
    place = dataclasses.replace(s3_place(rclone, "x"), secret_key=lambda: wrong)
    with pytest.raises(Denied, match="secret key is wrong") as raised:
        await S3Remote.attach("cellar", place)
    assert wrong not in str(raised.value)
    assert ACCESS_KEY not in str(raised.value)


async def test_no_bucket_is_no_empty_remote(moto, rclone, s3_place):
    for server in (moto, rclone):
        place = dataclasses.replace(s3_place(server, "x"), bucket="no-such-bucket")
        for read_only in (True, False):
            with pytest.raises(Unavailable, match="bucket"):
                await S3Remote.attach("cellar", place, read_only=read_only)


async def test_debris_of_old_probes_is_removed_by_the_servers_clock(moto, s3_place, monkeypatch):
    place = s3_place(moto, "debris")
    remote = await S3Remote.attach("cellar", place)
    await remote.put(".reconciler/probe-dead", b"first")
    await S3Remote.attach("cellar", place)
    assert [entry.name for entry in await remote.list(".reconciler")] == ["probe-dead"]
    monkeypatch.setattr("reconciler.remotes.s3._LEFT_BEHIND_NS", -1)
    await S3Remote.attach("cellar", place)
    with pytest.raises(Missing):
        await remote.list(".reconciler")


@pytest.fixture
def certificate(tmp_path):
    """Of this machine, signed by itself: (certificate, key), PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cellar")])
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = tmp_path / "cert.pem", tmp_path / "key.pem"
    paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


async def test_a_certificate_of_ones_own_has_to_be_named(certificate, tmp_path, s3_place):
    cert, key = certificate
    with rclone_server(tmp_path, "--cert", str(cert), "--key", str(key)) as server:
        place = s3_place(server, "tls")
        place = dataclasses.replace(place, endpoint=place.endpoint.replace("http:", "https:"))
        async with asyncio.timeout(60):
            with pytest.raises(Unavailable, match="certificate"):
                await S3Remote.attach("cellar", place)
        trusted = dataclasses.replace(place, ca=cert.read_bytes())
        remote = await S3Remote.attach("cellar", trusted)
        await remote.put("f", b"content")
        assert await remote.get("f", 10) == b"content"


async def test_the_secret_is_asked_for_not_kept(moto, s3_place):
    asked = []

    def secret() -> str:
        asked.append(1)
        return SECRET_KEY

    place = dataclasses.replace(s3_place(moto, "asked"), secret_key=secret)
    remote = await S3Remote.attach("cellar", place)
    for index in range(10):
        await remote.put(f"d/{index}", b"")
    assert len(asked) == 1  # and again once it is old, in case it was changed
