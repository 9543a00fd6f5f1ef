"""Our client's calls and disk streams against a pool that we did not write with it in mind."""

import asyncio
import os
import struct
from contextlib import suppress

import pytest

from reconciler.lab.faults import DropConnection, FailCall, KillToolstack
from reconciler.xapi.deadlines import Deadlines
from reconciler.xapi.disks import open_export
from reconciler.xapi.errors import (
    CredentialsInvalid,
    OutcomeUnknown,
    StreamBroken,
    StreamRefused,
    StreamTruncated,
    XapiError,
    XapiFailure,
)
from reconciler.xapi.imports import import_vhd
from reconciler.xapi.tasks import run_async

MIB = 1 << 20
BLOCK = 2 * MIB
GET = "http:GET /export_raw_vdi"


async def snapshot(client, name="web"):
    """Snapshot a VM; return the references of its disks' snapshots, in order."""
    (vm,) = await client.call("VM.get_by_name_label", name)
    ref = await run_async(client, "VM.snapshot", [vm, "a snapshot"], 30)
    vbds = [
        await client.call("VBD.get_record", vbd) for vbd in await client.call("VM.get_VBDs", ref)
    ]
    disks = sorted((vbd["userdevice"], vbd["VDI"]) for vbd in vbds if vbd["type"] == "Disk")
    return [vdi for _, vdi in disks]


async def read(stream, count):
    view = memoryview(bytearray(count))
    await stream.read_exactly(view)
    return bytes(view)


async def receive(client, vdi, base=None):
    """Export as the data plane does: {block: content} and what the footer says."""
    async with await open_export(client, vdi, base, label="a disk") as stream:
        footer = await read(stream, 512)
        header = await read(stream, 1024)
        (table_offset,) = struct.unpack_from(">Q", header, 16)
        (entries,) = struct.unpack_from(">I", header, 28)
        await read(stream, table_offset - 1536)
        table = await read(stream, -(-entries * 4 // 512) * 512)
        blocks = {}
        for index, sector in enumerate(struct.unpack_from(f">{entries}I", table)):
            if sector != 0xFFFFFFFF:
                blocks[index] = (await read(stream, 512 + BLOCK))[512:]
        assert await read(stream, 512) == footer
        await stream.finish()
    return blocks, struct.unpack_from(">I", footer, 60)[0]


def content_of(lab, uuid, size):
    return lab.read_vdi(uuid, 0, size)


async def assert_same(lab, client, vdi, blocks):
    size = int(await client.call("VDI.get_virtual_size", vdi))
    content = content_of(lab, await client.call("VDI.get_uuid", vdi), size)
    for index in range(size // BLOCK):
        piece = content[index * BLOCK : (index + 1) * BLOCK]
        assert blocks.get(index, bytes(BLOCK)) == piece


async def nothing_left(client):
    """No task of ours, and no disk in dom0's hands."""
    async with asyncio.timeout(120):
        while True:
            tasks = await client.call("task.get_all_records")
            ours = [task for task in tasks.values() if "[reconciler]" in task["name_label"]]
            vbds = await client.call("VBD.get_all_records")
            dom0 = [
                vbd
                for vbd in vbds.values()
                if vbd["type"] == "Disk"
                and await client.call("VM.get_is_control_domain", vbd["VM"])
            ]
            if not ours and not dom0:
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("tls", [False, True])
async def test_full_and_delta_come_byte_for_byte(lab, connect, tls):
    with lab.serve(tls=tls) as served:
        client = connect(served)
        first = await snapshot(client)
        blocks, kind = await receive(client, first[0])
        assert kind == 3
        assert sorted(blocks) == [0, 2, 4, 6]
        await assert_same(lab, client, first[0], blocks)
        empty, _ = await receive(client, first[1])
        assert empty == {}

        lab.write_disk("web", 0, 5 * BLOCK + 100, os.urandom(1000))
        second = await snapshot(client)
        delta, kind = await receive(client, second[0], base=first[0])
        assert kind == 4
        assert 5 in delta
        await assert_same(lab, client, second[0], {**blocks, **delta})
        await nothing_left(client)
        await client.close()


async def test_a_cut_stream_is_noticed_wherever_it_is_cut(lab, client):
    (vdi, _) = await snapshot(client)
    whole = 2048 + 512 + 4 * (512 + BLOCK) + 512
    for cut in (1, 3, 511, 512, 2048, 2560, 3072, 2560 + BLOCK, whole - 513, whole - 1):
        lab.faults.add(GET, DropConnection(after_bytes=cut))
        with pytest.raises(StreamTruncated):
            await receive(client, vdi)
    lab.faults.add(GET, DropConnection(after_bytes=100_000, reset=True))
    with pytest.raises(StreamBroken):
        await receive(client, vdi)
    blocks, _ = await receive(client, vdi)
    await assert_same(lab, client, vdi, blocks)
    await nothing_left(client)


async def test_an_error_after_the_head_is_no_disk(lab, client):
    (vdi, _) = await snapshot(client)
    lab.faults.add(GET, FailCall("SR_BACKEND_FAILURE_46", ("", "The VDI is not available", "")))
    with pytest.raises(StreamRefused, match="The VDI is not available") as caught:
        await receive(client, vdi)
    assert caught.value.failure.code == "SR_BACKEND_FAILURE_46"
    await nothing_left(client)


async def test_a_disk_that_is_not_there_is_refused(client):
    with pytest.raises(XapiError, match="_INVALID"):
        await receive(client, "OpaqueRef:00000000-0000-0000-0000-000000000000")


async def test_leaving_a_stream_early_frees_the_disk(lab, client):
    (vdi, _) = await snapshot(client)
    async with await open_export(client, vdi) as stream:
        await read(stream, 5000)
    await nothing_left(client)


async def test_cancelling_frees_the_disk(make_lab, connect):
    lab = make_lab(bandwidth_bytes_per_s=64 * 1024)  # it would take some minutes
    with lab.serve() as served:
        client = connect(served)
        (vdi, _) = await snapshot(client)
        task = asyncio.create_task(receive(client, vdi))
        await asyncio.sleep(0.5)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=60)
        assert done
        assert task.cancelled()
        await nothing_left(client)
        await client.close()


async def test_a_toolstack_restart_in_mid_export_is_no_success(lab, client):
    (vdi, _) = await snapshot(client)
    lab.faults.add(GET, KillToolstack(refuse_s=0.2, after_bytes=3 * MIB))
    with pytest.raises((StreamBroken, OutcomeUnknown)):
        await receive(client, vdi)
    async with asyncio.timeout(120):
        while True:
            with suppress(XapiError):
                blocks, _ = await receive(client, vdi)
                break
            await asyncio.sleep(0.05)
    await assert_same(lab, client, vdi, blocks)
    await nothing_left(client)


@pytest.mark.parametrize("tls", [False, True])
async def test_a_disk_another_host_sees_comes_from_there(make_lab, connect, tls):
    lab = make_lab(hosts=2)
    with lab.serve(tls=tls) as served:
        client = connect(served)
        hosts = await client.call("host.get_all_records")
        master = await client.call("pool.get_master", *(await client.call("pool.get_all")))
        (vm,) = await client.call("VM.get_by_name_label", "web")
        vbds = await client.call("VM.get_VBDs", vm)
        records = [await client.call("VBD.get_record", vbd) for vbd in vbds]
        (vdi, *_) = [vbd["VDI"] for vbd in records if vbd["userdevice"] == "0"]
        sr = await client.call("VDI.get_SR", vdi)
        (vdi, _) = await snapshot(client)
        for pbd in await client.call("SR.get_PBDs", sr):
            if await client.call("PBD.get_host", pbd) == master:
                with suppress(XapiFailure):
                    await client.call("PBD.unplug", pbd)
                pbd_row = lab.pool.database.row("PBD", pbd)
                with lab.pool.database.transaction():
                    lab.pool.database.set(pbd_row, currently_attached=False)
        assert len(hosts) == 2
        blocks, _ = await receive(client, vdi)
        await assert_same(lab, client, vdi, blocks)
        await client.close()


async def test_a_slave_leads_to_the_master(make_lab, connect):
    lab = make_lab(hosts=2)
    with lab.serve() as served:
        client = connect(served, served.hosts[1])
        assert await client.call("VM.get_by_name_label", "web")
        assert client.master.url == served.url
        await client.close()


async def test_a_wrong_password_is_refused(served, connect):
    client = connect(served)
    client._password = lambda: "wrong"
    with pytest.raises(CredentialsInvalid):
        await client.call("VM.get_all")


async def test_a_snapshot_whose_answer_is_lost_is_unknown_and_there(lab, client):
    (vm,) = await client.call("VM.get_by_name_label", "web")
    lab.faults.add("rpc:Async.VM.snapshot", DropConnection())
    with pytest.raises(OutcomeUnknown):
        await run_async(client, "VM.snapshot", [vm, "lost"], 30)
    async with asyncio.timeout(120):
        while True:
            if await client.call("VM.get_by_name_label", "lost"):
                break
            await asyncio.sleep(0.05)


async def test_a_full_storage_says_so(lab, client):
    (vm,) = await client.call("VM.get_by_name_label", "web")
    lab.faults.add("rpc:Async.VM.snapshot", FailCall("SR_BACKEND_FAILURE_44", ("", "no space", "")))
    with pytest.raises(XapiFailure) as caught:
        await run_async(client, "VM.snapshot", [vm, "x"], 30)
    assert caught.value.code == "SR_BACKEND_FAILURE_44"


def vhd_of(blocks, size):
    """A dynamic VHD stream as an importer wants it, written here from the specification."""

    def summed(raw, at):
        return raw[:at] + struct.pack(">I", ~sum(raw) & 0xFFFFFFFF) + raw[at + 4 :]

    footer = bytearray(512)
    struct.pack_into(">8sIIQ", footer, 0, b"conectix", 2, 0x10000, 512)
    struct.pack_into(">QQ", footer, 40, size, size)
    struct.pack_into(">I", footer, 60, 3)
    footer = summed(bytes(footer), 64)
    entries = size // BLOCK
    header = bytearray(1024)
    struct.pack_into(">8sQQIII", header, 0, b"cxsparse", 2**64 - 1, 1536, 0x10000, entries, BLOCK)
    header = summed(bytes(header), 36)
    table_bytes = -(-entries * 4 // 512) * 512
    at = 1536 + table_bytes
    table = bytearray(b"\xff" * table_bytes)
    for index in sorted(blocks):
        struct.pack_into(">I", table, index * 4, at // 512)
        at += 512 + BLOCK
    pieces = [footer + header + bytes(table)]
    pieces += [b"\xff" * 512 + blocks[index] for index in sorted(blocks)]
    return [*pieces, footer]


@pytest.mark.parametrize("tls", [False, True])
async def test_an_import_lands_byte_for_byte(lab, connect, tls):
    with lab.serve(tls=tls) as served:
        client = connect(served)
        (pool,) = (await client.call("pool.get_all_records")).values()
        size = 8 * BLOCK
        vdi = await client.call(
            "VDI.create",
            {
                "SR": pool["default_SR"],
                "virtual_size": str(size),
                "type": "user",
                "sharable": False,
                "read_only": False,
                "other_config": {},
                "name_label": "restored",
            },
        )
        blocks = {index: os.urandom(BLOCK) for index in (1, 2, 7)}
        pieces = vhd_of(blocks, size)

        async def stream():
            for piece in pieces:
                yield piece

        sent = []
        length = sum(map(len, pieces))
        await import_vhd(client, vdi, length, stream(), label="restored", on_sent=sent.append)
        assert sum(sent) == length
        content = lab.read_vdi(await client.call("VDI.get_uuid", vdi), 0, size)
        for index in range(8):
            expected = blocks.get(index, bytes(BLOCK))
            assert content[index * BLOCK : (index + 1) * BLOCK] == expected
        await nothing_left(client)
        await client.close()


async def test_a_broken_import_says_why(lab, client):
    (pool,) = (await client.call("pool.get_all_records")).values()
    vdi = await client.call(
        "VDI.create",
        {
            "SR": pool["default_SR"],
            "virtual_size": str(BLOCK),
            "type": "user",
            "sharable": False,
            "read_only": False,
            "other_config": {},
        },
    )

    async def rubbish():
        yield bytes(10_000)

    with pytest.raises(XapiFailure, match="VDI_IO_ERROR"):
        await import_vhd(client, vdi, 10_000, rubbish())
    await nothing_left(client)


async def test_twelve_exports_at_once(lab, connect):
    with lab.serve() as served:
        client = connect(served, deadlines=Deadlines(stall_s=30))
        (vdi, _) = await snapshot(client)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(receive(client, vdi)) for _ in range(12)]
        for task in tasks:
            await assert_same(lab, client, vdi, task.result()[0])
        await nothing_left(client)
        await client.close()
