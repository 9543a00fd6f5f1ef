import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from reconciler.cli.progress import Bars, Rates, line_of, put_line, status_of, style_of, title_of
from reconciler.executor.transfers import Gauge, Transfer
from reconciler.ids import DiskUuid, JobId, JobName, PoolName, RemoteName, Stamp, VmUuid
from reconciler.plan.actions import (
    Prune,
    Snapshot,
)
from reconciler.plan.reasons import Reason
from reconciler.plan.restore_actions import RestoreDisk, RestoreVm

NOW = datetime(2026, 1, 9, tzinfo=UTC)
VM = VmUuid("00000000-0000-0000-0000-00000000000a")
MIB = 1 << 20


def prune(name: str = "web") -> Prune:
    return Prune(RemoteName("nas1"), VM, name, None, Stamp("x"), 0, NOW, Reason.RETENTION_EXCEEDED)


def transfer(name: str = "web", done: int = 0, total: int = 0) -> Transfer:
    gauge = Gauge(
        RestoreDisk(RemoteName("nas1"), VM, name, Stamp("s"), DiskUuid("d"), name, "raw", NOW), NOW
    )
    gauge.expect(total)
    gauge.advance(done)
    return gauge.read()


def test_titles() -> None:
    snapshot = Snapshot(
        PoolName("lab"), VM, "web\x1b[2J", JobName("j"), JobId("i"), (), NOW, Reason.SCHEDULED
    )
    assert title_of(snapshot) == "snapshot web\\x1b[2J on lab"
    assert title_of(prune()) == "prune web on nas1"
    restore = RestoreVm(
        RemoteName("nas1"), VM, "web", Stamp("s"), PoolName("lab"), None, None, False, NOW
    )
    assert title_of(restore) == "restore web -> lab"


def test_a_line_names_a_few_and_counts_all() -> None:
    rates = Rates()
    slow, fast = transfer("a", 10 * MIB, 100 * MIB), transfer("b", 5 * MIB)
    rates.look([slow], 10.0)
    rates.look([transfer("a", 40 * MIB, 100 * MIB), fast], 20.0)
    line = line_of([transfer("a", 40 * MIB, 100 * MIB), fast, *[transfer(x) for x in "cde"]], rates)
    assert line == (
        "5 running: restore a -> a 40.0 MiB of 100 MiB (40 %) at 3.0 MiB/s; "
        "restore b -> b 5.0 MiB; restore c -> c; and 2 more"
    )


def test_a_rate_needs_two_looks_at_the_same_try() -> None:
    rates = Rates()
    first = transfer("a", MIB, 10 * MIB)
    rates.look([first], 1.0)
    assert rates.of(first) == 0
    rates.look([transfer("a", 3 * MIB, 10 * MIB)], 2.0)
    assert rates.of(first) == 2 * MIB
    again = Transfer(first.id, first.action, NOW + timedelta(hours=1), MIB, 10 * MIB)
    rates.look([again], 3.0)
    assert rates.of(again) == 0


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    put_line(status_of([transfer("web\x1b", MIB, 2 * MIB)], Rates()))
    out = capsys.readouterr().out
    assert out.endswith("\n")
    content = json.loads(out)
    assert content["type"] == "status"
    assert content["transfers"][0] | {"action": "x"} == {
        "action": "x",
        "verb": "restore",
        "vm": VM,
        "vmName": "web\x1b",
        "place": "nas1",
        "startedAt": "2026-01-09T00:00:00+00:00",
        "doneBytes": MIB,
        "totalBytes": 2 * MIB,
        "bytesPerSecond": 0,
    }


def test_bars_come_and_go_and_read_no_markup() -> None:
    out = io.StringIO()
    bars = Bars(Console(file=out, force_terminal=True, width=120, color_system=None))
    bars.draw([transfer("[red]a", MIB, 2 * MIB), transfer("b")])
    with bars.progress:
        bars.progress.refresh()
    assert "restore [red]a -> [red]a" in out.getvalue()
    assert len(bars.progress.tasks) == 2
    bars.draw([transfer("b")])
    assert [task.description for task in bars.progress.tasks] == ["restore b -> b"]


def test_lines_where_there_is_no_terminal() -> None:
    assert style_of(None) == "plain"
    assert style_of("bar") == "bar"
