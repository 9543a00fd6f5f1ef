"""What is moving, shown as it moves: bars on a terminal, a line per half minute, or JSON lines.

Reads gauges at its own pace; a fast transfer never floods a slow terminal. Bars and lines go to
stderr; JSON lines are data for a program and go to stdout, one object a line, told apart by
"type": "status" here, "summary" at the end of a command.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, assert_never

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from reconciler.cli.escape import escape
from reconciler.cli.messages import say
from reconciler.executor.transfers import Transfer
from reconciler.ids import ActionId
from reconciler.plan.actions import (
    Action,
    Archive,
    CleanFiles,
    CleanReplica,
    CleanSnapshot,
    CopyVm,
    Export,
    Merge,
    Prune,
    PruneReplica,
    Replicate,
    Snapshot,
    Verify,
)
from reconciler.plan.claims import sr_name
from reconciler.plan.power_on import PowerOn
from reconciler.plan.restore_actions import CleanRestore, RestoreDisk, RestoreVm
from reconciler.units import render_size

Style = Literal["none", "plain", "bar", "json"]
ReadTransfers = Callable[[], Sequence[Transfer]]

_BAR_INTERVAL_S = 0.2
_JSON_INTERVAL_S = 1.0
_PLAIN_INTERVAL_S = 30.0
_NAMED_MAX = 3  # in one plain line


def style_of(asked: Style | None) -> Style:
    """Take the style asked for, else bars on a terminal and lines elsewhere."""
    if asked is not None:
        return asked
    return "bar" if sys.stderr.isatty() else "plain"


async def show(read: ReadTransfers, style: Style, put_plain: Callable[[str], None] = say) -> None:
    """Show what `read` gives until cancelled. put_plain: where the lines of "plain" go."""
    match style:
        case "none":
            return
        case "bar":
            await _show_bars(read)
        case "plain":
            await _repeat(read, _PLAIN_INTERVAL_S, put_plain, line_of)
        case "json":
            await _repeat(read, _JSON_INTERVAL_S, put_line, status_of)
        case _:
            assert_never(style)


def put_line(content: dict[str, Any]) -> None:
    """Write one JSON line to stdout at once."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def title_of(action: Action) -> str:
    """Say in a few words what an action does, on which VM, where."""
    match action:
        case Snapshot() | CleanSnapshot() | CleanRestore() | PowerOn():
            text = f"{action.verb} {action.vm_name} on {action.pool}"
        case Export():
            text = f"export {action.vm_name} -> {action.remote}"
        case Archive():
            text = f"archive {action.vm_name} -> {action.remote}"
        case Replicate() | CopyVm():
            where = sr_name(action.target_pool, action.sr, action.sr_name)
            text = f"{action.verb} {action.vm_name} -> {where}"
        case PruneReplica() | CleanReplica():
            where = sr_name(action.target_pool, action.sr, action.sr_name)
            text = f"{action.verb} {action.vm_name} on {where}"
        case Merge() | Prune() | CleanFiles() | Verify():
            text = f"{action.verb} {action.vm_name} on {action.remote}"
        case RestoreVm():
            text = f"restore {action.vm_name} -> {action.pool}"
        case RestoreDisk():
            text = f"restore {action.vm_name} -> {action.output}"
        case _:
            assert_never(action)
    return escape(text)


def line_of(transfers: Sequence[Transfer], rates: "Rates") -> str:
    """Say in one line what is moving and how far it is."""
    named = [_phrase(transfer, rates) for transfer in transfers[:_NAMED_MAX]]
    if len(transfers) > _NAMED_MAX:
        named.append(f"and {len(transfers) - _NAMED_MAX} more")
    return f"{len(transfers)} running: {'; '.join(named)}"


def _phrase(transfer: Transfer, rates: "Rates") -> str:
    words = [title_of(transfer.action)]
    if transfer.total_bytes:
        percent = 100 * transfer.done_bytes // transfer.total_bytes
        done, total = render_size(transfer.done_bytes), render_size(transfer.total_bytes)
        words.append(f"{done} of {total} ({percent} %)")
    elif transfer.done_bytes:
        words.append(render_size(transfer.done_bytes))
    if rate := rates.of(transfer):
        words.append(f"at {render_size(rate)}/s")
    return " ".join(words)


def status_of(transfers: Sequence[Transfer], rates: "Rates") -> dict[str, Any]:
    """Say the same for a program."""
    return {
        "type": "status",
        "transfers": [
            {
                "action": transfer.id,
                "verb": transfer.action.verb,
                "vm": transfer.action.vm,
                "vmName": transfer.action.vm_name,
                "place": getattr(transfer.action, "remote", None)
                or getattr(transfer.action, "pool", None),
                "startedAt": transfer.started_at.astimezone(UTC).isoformat(),
                "doneBytes": transfer.done_bytes,
                "totalBytes": transfer.total_bytes or None,
                "bytesPerSecond": rates.of(transfer),
            }
            for transfer in transfers
        ],
    }


class Rates:
    """Bytes per second of each transfer between two looks at it."""

    def __init__(self) -> None:
        self._before: dict[ActionId, tuple[datetime, float, int]] = {}
        self._rates: dict[ActionId, int] = {}

    def look(self, transfers: Sequence[Transfer], now_s: float) -> None:
        """now_s: of a clock that never goes back."""
        seen: dict[ActionId, tuple[datetime, float, int]] = {}
        rates: dict[ActionId, int] = {}
        for transfer in transfers:
            seen[transfer.id] = (transfer.started_at, now_s, transfer.done_bytes)
            before = self._before.get(transfer.id)
            if before is not None and before[0] == transfer.started_at and now_s > before[1]:
                rates[transfer.id] = int((transfer.done_bytes - before[2]) / (now_s - before[1]))
        self._before, self._rates = seen, rates

    def of(self, transfer: Transfer) -> int:
        """Bytes per second; 0 while it has been seen only once."""
        return self._rates.get(transfer.id, 0)


async def _repeat(
    read: ReadTransfers,
    interval_s: float,
    put: Callable[[Any], None],
    render: Callable[[Sequence[Transfer], Rates], Any],
) -> None:
    rates = Rates()
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(interval_s)
        transfers = read()
        rates.look(transfers, loop.time())
        if transfers:
            put(render(transfers, rates))


async def _show_bars(read: ReadTransfers) -> None:
    """Draw one bar per transfer. The drawing takes over stderr: lines appear above the bars."""
    bars = Bars(Console(stderr=True))
    with bars.progress:
        while True:
            bars.draw(read())
            await asyncio.sleep(_BAR_INTERVAL_S)


class Bars:
    """One bar per transfer, on a console."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            redirect_stdout=False,
        )
        self._bars: dict[tuple[ActionId, datetime], TaskID] = {}

    def draw(self, transfers: Sequence[Transfer]) -> None:
        """Make the bars be those of these transfers."""
        wanted = {(transfer.id, transfer.started_at): transfer for transfer in transfers}
        for key in [key for key in self._bars if key not in wanted]:
            self.progress.remove_task(self._bars.pop(key))
        for key, transfer in wanted.items():
            if key not in self._bars:
                self._bars[key] = self.progress.add_task(title_of(transfer.action), total=None)
            self.progress.update(
                self._bars[key],
                completed=transfer.done_bytes,
                total=transfer.total_bytes or None,
            )
