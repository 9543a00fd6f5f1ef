"""Where a stream is written: a difference onto a clone of its base, a whole disk onto nothing."""

from reconciler.executor.replica_stage import stage_on
from reconciler.executor.replicas import points_of
from reconciler.transfer.sink import DiskHead

SIZE = 16 << 20


async def test_what_comes_whole_never_goes_onto_an_old_disk(west):
    await west.replicate()
    action = await west.replication()
    vm = await west.replica_record()
    ((marks, point),) = await points_of(west.target, vm["ref"])
    sr = await west.target.call("SR.get_by_uuid", west.sr)
    stage = await stage_on(west.target, sr, marks, point)
    disk = action.disks[0]
    vdi = {"name_label": "web 0"}

    async def content(head):
        ref = await stage.place(disk, vdi, {"bootable": True}, head)
        uuid = await west.target.call("VDI.get_uuid", ref)
        size = int(await west.target.call("VDI.get_virtual_size", ref))
        return west.target_lab.read_vdi(uuid, 0, size)

    base = west.contents[marks.stamp][disk.disk]
    assert await content(DiskHead(SIZE, True, ())) == base
    assert await content(DiskHead(SIZE + (8 << 20), True, ())) == base + bytes(8 << 20)
    # blocks that the VM has no more do not come, and must not be what they were
    assert await content(DiskHead(SIZE, False, ())) == bytes(SIZE)
    assert len(stage.received) == 1, "the last one counts"
