"""One job, three remotes: each disk leaves the pool once, and each remote answers for itself."""

import errno
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from party import MIB, NAMES, contents_of, failures, running, vm_of, with_point

from reconciler.connections import Connections, Lease
from reconciler.desired.state import LocalPlace
from reconciler.ids import RemoteName
from reconciler.lab.transfers import EXPORT, Transfer
from reconciler.plan.actions import Export
from reconciler.plan.reasons import Reason
from reconciler.remotes.faults import Call, Fault
from reconciler.remotes.file import FileRemote
from reconciler.remotes.memory import MemoryFilesystem
from reconciler.remotes.remote import Remote
from reconciler.status.report import Report


@dataclass(frozen=True)
class DiskFull(Fault):
    """Nothing can be written beyond some byte of a file."""

    beyond: int = 5 * MIB

    def strikes(self, index: int, call: Call) -> bool:
        return call.kind == "pwritev" and call.offset > self.beyond


@pytest.fixture
def vm(lab) -> str:
    return vm_of(lab)


def exported(lab) -> list[Transfer]:
    return [one for one in lab.transfers.all if one.kind == EXPORT]


def sent_once(lab) -> bool:
    """Whether each of the two disks was exported in one go, and each of its blocks once."""
    moved = exported(lab)
    return len({one.object for one in moved}) == len(moved) == 2 and all(
        set(lab.transfers.blocks_sent(one.object).values()) <= {1} for one in moved
    )


async def test_a_disk_is_read_once_for_three_remotes(lab, served, vm, tmp_path: Path) -> None:
    async with running(served, tmp_path) as party:
        await party.until(lambda report: with_point(report) == set(NAMES))
        for name in NAMES:
            assert await party.restored(name, vm, tmp_path) == contents_of(lab)
    assert sent_once(lab)
    data_bytes = sum(len(one.blocks) for one in exported(lab)) * 2 * MIB
    assert data_bytes == 8 * MIB, "and nothing of the three remotes' in it"


async def test_a_remote_that_fails_leaves_the_others_and_heals(
    lab, served, vm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    barn = MemoryFilesystem(fault=DiskFull(at=-1, number=errno.ENOSPC))
    opened = await FileRemote.attach("barn", barn, threads=None)
    of_others = Connections.remote

    async def remote(self: Connections, name: RemoteName, holding: Lease | None = None) -> Remote:
        return opened if name == "barn" else await of_others(self, name, holding)

    monkeypatch.setattr(Connections, "remote", remote)
    async with running(served, tmp_path) as party:
        report = await party.until(lambda report: with_point(report) == {"attic", "cellar"})
        assert sent_once(lab), "nothing was read again for those who went on"
        for name in ("attic", "cellar"):
            assert await party.restored(name, vm, tmp_path) == contents_of(lab)
        report = await party.until(lambda report: bool(failures(report)))
        assert failures(report) == {Reason.INSUFFICIENT_SPACE}
        before = len(exported(lab))
        barn.fault = None
        party.clock.step(timedelta(hours=1))
        await party.until(lambda report: with_point(report) == set(NAMES))
        assert await party.restored("barn", vm, tmp_path) == contents_of(lab)
        assert 0 < len(exported(lab)) - before <= 2, "read once more, for it alone"
        assert not any(".partial" in path for path in barn.paths())


def is_idle(report: Report) -> bool:
    return not report.observed.progress.running


@pytest.mark.parametrize("cancelled", NAMES)
async def test_a_part_that_is_cancelled_leaves_the_others(
    make_lab, tmp_path: Path, cancelled: str
) -> None:
    """Whichever of them it is: who opened the stream is nobody special."""
    lab = make_lab(bandwidth_bytes_per_s=6 * MIB)
    with lab.serve() as served:
        async with running(served, tmp_path) as party:
            await party.until_moving("export", 3 * MIB)
            (part,) = [
                one
                for one in party.reconciler.transfers()
                if isinstance(one.action, Export) and one.action.remote == cancelled
            ]
            party.reconciler._executor._running[part.id].task.cancel()
            others = set(NAMES) - {cancelled}
            await party.until(lambda report: with_point(report) >= others)
            streams = [one for one in exported(lab) if one.blocks]
            assert streams[0].blocks == [0, 2, 4, 6], "it was not read from the beginning again"
            for name in others:
                assert await party.restored(name, vm_of(lab), tmp_path) == contents_of(lab)
            # The plan still asks for the point: it is made again, for this remote alone.
            await party.until(lambda report: with_point(report) == set(NAMES))
            assert await party.restored(cancelled, vm_of(lab), tmp_path) == contents_of(lab)


async def test_a_remote_that_moves_is_left_when_what_runs_there_has_ended(
    make_lab, tmp_path: Path
) -> None:
    lab = make_lab(bandwidth_bytes_per_s=3 * MIB)
    (tmp_path / "shed").mkdir()
    with lab.serve() as served:
        async with running(served, tmp_path) as party:
            await party.until_moving("export", MIB)
            manifest = tmp_path / "manifests" / "world.yaml"
            moved = manifest.read_text().replace(f"{tmp_path}/barn", f"{tmp_path}/shed")
            manifest.write_text(moved)
            shed = LocalPlace(f"{tmp_path}/shed")
            await party.until(lambda report: report.desired.remotes["barn"].place == shed)
            await party.reconciler.connections.remote(RemoteName("barn"))
            assert len(party.reconciler.transfers()) == len(NAMES), "all are still at it"
            others = {"attic", "cellar"}
            await party.until(lambda report: with_point(report) == others and is_idle(report))
            party.clock.step(timedelta(hours=1))  # what succeeded is not tried again at once
            await party.until(lambda report: with_point(report) == set(NAMES))
            streams = [one for one in exported(lab) if one.blocks]
            assert streams[0].blocks == [0, 2, 4, 6], "the reading was for all three, to its end"
            assert list((tmp_path / "barn").glob(f"xo-vm-backups/{vm_of(lab)}/*.json"))
            assert await party.restored("barn", vm_of(lab), tmp_path) == contents_of(lab)
        assert list((tmp_path / "shed").glob(f"xo-vm-backups/{vm_of(lab)}/*.json"))
