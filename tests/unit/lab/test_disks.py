"""The disk trees against a model: whatever happens in whatever order, bytes are right.

The model is a list of values per disk, one per quarter of a block; it knows nothing of layers.
"""

import tempfile

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
)

from reconciler.lab.database import Row
from reconciler.lab.failures import Failure
from reconciler.lab.lab import Lab
from reconciler.lab.layers import BLOCK
from reconciler.lab.settings import Settings
from reconciler.lab.volumes import disk_of

CELL = BLOCK // 4
CELLS = 16
SIZE = CELL * CELLS
QUICK = Settings(coalesce=False, chain_depth_max=12, leaf_blocks_max=1)


class Trees(RuleBasedStateMachine):
    disks = Bundle("disks")

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(prefix="lab-trees-")
        self.lab = Lab.open(self.directory.name, settings=QUICK)
        self.sr = self.lab.pool.record.text("default_SR")
        self.model: dict[str, list[int]] = {}

    def teardown(self) -> None:
        self.lab.close()
        self.directory.cleanup()

    def row(self, uuid: str) -> Row:
        return self.lab.pool.database.by_uuid("VDI", uuid)

    def content(self, uuid: str) -> list[int]:
        """The value of each cell, which must be one value throughout."""
        data = self.lab.read_vdi(uuid, 0, SIZE)
        cells = [data[at : at + CELL] for at in range(0, SIZE, CELL)]
        for cell in cells:
            assert cell.count(cell[:1]) == CELL
        return [cell[0] for cell in cells]

    @rule(target=disks)
    def create(self) -> str:
        wish = {
            "SR": self.sr,
            "virtual_size": SIZE,
            "type": "user",
            "sharable": False,
            "read_only": False,
            "other_config": {},
        }
        uuid = str(self.lab.call("VDI.get_uuid", self.lab.call("VDI.create", wish)))
        self.model[uuid] = [0] * CELLS
        return uuid

    @rule(
        disk=disks,
        first=st.integers(0, CELLS - 1),
        count=st.integers(1, CELLS),
        value=st.integers(0, 255),
    )
    def write(self, disk: str, first: int, count: int, value: int) -> None:
        last = min(CELLS, first + count)
        data = memoryview(bytes([value]) * (CELL * (last - first)))
        disk_of(self.lab.pool, self.row(disk)).write(first * CELL, data)
        self.model[disk][first:last] = [value] * (last - first)

    @rule(target=disks, disk=disks, snapshot=st.booleans())
    def fork(self, disk: str, snapshot: bool) -> object:
        method = "VDI.snapshot" if snapshot else "VDI.clone"
        try:
            ref = self.lab.call(method, self.row(disk).ref)
        except Failure as failure:
            assert failure.code == "SR_BACKEND_FAILURE_109"
            return multiple()
        uuid = str(self.lab.call("VDI.get_uuid", ref))
        self.model[uuid] = list(self.model[disk])
        return uuid

    @rule(disk=consumes(disks))
    def destroy(self, disk: str) -> None:
        self.lab.call("VDI.destroy", self.row(disk).ref)
        del self.model[disk]

    @rule()
    def collect(self) -> None:
        self.lab.coalesce()

    @rule()
    def reopen(self) -> None:
        self.lab.close()
        self.lab = Lab.open(self.directory.name, settings=QUICK)

    @rule(tip=disks, base=disks)
    def difference_turns_base_into_tip(self, tip: str, base: str) -> None:
        pool = self.lab.pool
        plan = pool.disks.plan(disk_of(pool, self.row(tip)), disk_of(pool, self.row(base)))
        try:
            assert plan.blocks == sorted(set(plan.blocks))
            result = list(self.model[base])
            piece = memoryview(bytearray(BLOCK))
            for position, block in enumerate(plan.blocks):
                plan.read_into(piece, position)
                result[block * 4 : block * 4 + 4] = [piece[n * CELL] for n in range(4)]
        finally:
            plan.close()
        assert result == self.model[tip]

    @rule(disk=disks)
    def a_disk_differs_from_itself_by_nothing(self, disk: str) -> None:
        pool = self.lab.pool
        plan = pool.disks.plan(disk_of(pool, self.row(disk)), disk_of(pool, self.row(disk)))
        assert plan.blocks == []

    @rule(disk=disks)
    def reads_back(self, disk: str) -> None:
        assert self.content(disk) == self.model[disk]

    @precondition(lambda self: self.model)
    @invariant()
    def records_show_the_trees(self) -> None:
        for row in self.lab.pool.database.rows("VDI"):
            parent = row.mapping("sm_config").get("vhd-parent")
            above = self.lab.pool.disks.disks[row.text("uuid")].layer.parent
            assert (parent is None) == (above is None)
            if parent is not None and above is not None:
                assert self.lab.pool.disks.disks[parent].layer is above
                assert not self.row(parent).flag("managed")


TestTrees = Trees.TestCase
TestTrees.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_a_snapshot_costs_no_space(lab: Lab, web: str) -> None:
    disk = lab.disk("web")
    before = disk_of(lab.pool, disk)
    lab.call("VDI.snapshot", disk.ref)
    assert before.layer.allocated == 0
    assert [len(layer.chain()) for layer in (before.layer,)] == [2]


def test_a_second_snapshot_without_writes_shares_the_base(lab: Lab, web: str) -> None:
    disk = lab.disk("web")
    first = lab.call("VDI.get_sm_config", lab.call("VDI.snapshot", disk.ref))
    second = lab.call("VDI.get_sm_config", lab.call("VDI.snapshot", disk.ref))
    assert first == second
    hidden = [row for row in lab.pool.database.rows("VDI") if not row.flag("managed")]
    assert [row.text("name_label") for row in hidden] == ["base copy"]


def test_a_write_keeps_the_rest_of_its_block(lab: Lab, web: str) -> None:
    before = lab.read_disk("web", 0, 0, 16 << 20)
    lab.call("VDI.snapshot", lab.disk("web").ref)
    lab.write_disk("web", 0, (4 << 20) - 5, b"0123456789")
    after = bytearray(before)
    after[(4 << 20) - 5 : (4 << 20) + 5] = b"0123456789"
    assert lab.read_disk("web", 0, 0, 16 << 20) == bytes(after)


def test_the_difference_is_what_was_written(lab: Lab, web: str) -> None:
    disk = lab.disk("web")
    first = lab.pool.database.row("VDI", str(lab.call("VDI.snapshot", disk.ref)))
    lab.write_disk("web", 0, 9 << 20, b"x")
    second = lab.pool.database.row("VDI", str(lab.call("VDI.snapshot", disk.ref)))
    trees, pool = lab.pool.disks, lab.pool
    forward = trees.plan(disk_of(pool, second), disk_of(pool, first))
    backward = trees.plan(disk_of(pool, first), disk_of(pool, second))
    assert (forward.blocks, backward.blocks) == ([4], [4])
    # the block exists only on the newer side, so the way back is zeros as the base reads it
    assert backward.sources == [-1]
    for plan in (forward, backward):
        plan.close()


def test_a_chain_has_an_end(lab: Lab, web: str) -> None:
    disk = lab.disk("web")
    for number in range(29):
        lab.call("VDI.snapshot", disk.ref)
        lab.write_disk("web", 0, 0, bytes([number]))
    lab.call("VDI.get_record", disk.ref)
    try:
        lab.call("VDI.snapshot", disk.ref)
    except Failure as failure:
        assert failure.code == "SR_BACKEND_FAILURE_109"
    else:
        raise AssertionError("a chain of more than 30")
