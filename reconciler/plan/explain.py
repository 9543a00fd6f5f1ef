"""The plan as people and programs read it: text, markdown and JSON-ready values.

    +  something is made       !  a full where a delta was expected
    ~  files are rewritten     -  something is removed        =  held: wanted, not now
    ?  something is read, to see whether it can be restored

Pure: the same plan gives the same text. Names come from pools and remotes, where anybody may have
put anything into them; what is not printable is shown escaped. Instants are UTC.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, assert_never

from reconciler.desired.state import Desired
from reconciler.ids import instant_of
from reconciler.observed.chain import stamp_in
from reconciler.observed.state import Observed
from reconciler.plan.actions import (
    Action,
    Archive,
    CleanFiles,
    CleanReplica,
    CleanSnapshot,
    CopyVm,
    Export,
    ExportKind,
    Merge,
    Prune,
    PruneReplica,
    Replicate,
    Snapshot,
    Verify,
)
from reconciler.plan.census import points_total
from reconciler.plan.claims import sr_name
from reconciler.plan.files import job_of
from reconciler.plan.plan import Held, Plan
from reconciler.plan.power_on import PowerOn
from reconciler.plan.reasons import Reason
from reconciler.plan.render import as_dict
from reconciler.plan.restore_actions import CleanRestore, RestoreDisk, RestoreVm
from reconciler.units import render_size

_API_VERSION = "backup.reconciler.io/v1alpha1"
_ALIKE_MAX = 6  # held lines with one reason; of more, the first are shown and the rest counted
_EXPECTED_FULLS = frozenset(
    {Reason.FIRST_BACKUP, Reason.DISK_ADDED, Reason.KEY_INTERVAL_REACHED, Reason.ALREADY_EXPORTED}
)


@dataclass(frozen=True, slots=True)
class _Line:
    sign: str
    verb: str
    name: str
    what: str
    size: str
    why: str


# ── text ──────────────────────────────────────────────────────────────────────────────────────────


def text_of(plan: Plan, desired: Desired, observed: Observed) -> str:
    """Render for a terminal: one section for each job, pool or remote, then a summary."""
    sections = _sections(plan, desired)
    width = {
        column: max(
            (len(getattr(line, column)) for _, lines in sections for line in lines), default=0
        )
        for column in ("verb", "name", "what", "size")
    }
    parts = []
    for heading, lines in sections:
        parts.append(heading)
        for line in lines:
            cells = [
                line.sign,
                line.verb.ljust(width["verb"]),
                line.name.ljust(min(width["name"], 32)),
                line.what.ljust(min(width["what"], 56)),
                line.size.rjust(width["size"]),
                line.why,
            ]
            if not line.name:
                cells[2:5] = []
            parts.append("  " + " ".join(cells[:2]) + "  " + "  ".join(cells[2:]).rstrip())
        parts.append("")
    return "\n".join([*parts, *summary_of(plan, desired, observed)]) + "\n"


def summary_of(plan: Plan, desired: Desired, observed: Observed) -> list[str]:
    """Return the lines that end every rendering: what there is to do, and what it would delete."""
    going = [action for action in plan.actions if action.destructive]
    blocked = [
        each for each in plan.held if each.reason is Reason.MASS_DELETION_BLOCKED and each.action
    ]
    lines = [f"Plan: {plan.sentence}."]
    total = points_total(desired, observed)
    if going:
        share = f"{len(going)} of {total} points ({_percent(len(going), total)})"
        lines.append(f"Destructive: {share}.")
    if blocked:
        share = f"{len(blocked)} of {total} points ({_percent(len(blocked), total)})"
        lines.append(f"Blocked by the guard: {share}; to approve: {plan.deletions}")
    lines += [f"Ends {each.action}: {each.reason}: {each.why}." for each in plan.cancel]
    if plan.wake_at is not None:
        lines.append(f"With nothing changed, the plan is the same until {_time(plan.wake_at)} UTC.")
    return lines


def _sections(plan: Plan, desired: Desired) -> list[tuple[str, list[_Line]]]:
    sections: dict[str, list[_Line]] = {}
    for action in plan.actions:
        sections.setdefault(_heading(action, desired), []).append(_line(action))
    held: dict[str, list[tuple[Held, _Line]]] = {}
    for each in plan.held:
        heading = _held_heading(each, desired)
        held.setdefault(heading, []).append((each, _held_line(each, heading)))
    for heading, lines in held.items():
        sections.setdefault(heading, []).extend(_collapsed(lines))
    return sorted(sections.items(), key=lambda item: (_HEADINGS.index(item[0].split()[0]), item[0]))


_HEADINGS = ("restore", "job", "pool", "remote", "held")


def _heading(action: Action, desired: Desired) -> str:  # noqa: PLR0911 (it is a table)
    if isinstance(action, RestoreVm | CleanRestore):
        called = [one.name for one in desired.restores.values() if one.id == action.restore]
        return f"restore {called[0]}" if called else f"pool {action.pool}"
    match action:
        case Snapshot() | Export() | Archive() | Replicate() | CopyVm() | Verify():
            return f"job {action.job}"
        case Merge() | Prune() | PruneReplica() | CleanSnapshot() if action.job is not None:
            return f"job {action.job}"
        case CleanFiles():
            jobs = {job_of(path) for path in action.paths}
            names = [name for name, job in desired.jobs.items() if job.id in jobs]
            return f"job {names[0]}" if len(names) == 1 else f"remote {action.remote}"
        case CleanSnapshot() | PowerOn():
            return f"pool {action.pool}"
        case PruneReplica() | CleanReplica():
            return f"pool {action.target_pool}"
        case _:
            return f"remote {action.remote}"


def _held_heading(held: Held, desired: Desired) -> str:
    if held.action is not None:
        return _heading(held.action, desired)
    first, _, name = held.subject.partition(" ")
    job = held.subject.rpartition(" of job ")[2]
    if job in desired.jobs:
        return f"job {job}"
    if first == "job":
        return f"job {name.split(' on ')[0]}"
    return f"{first} {name}" if first in ("pool", "remote", "restore") else "held"


def _collapsed(lines: Sequence[tuple[Held, _Line]]) -> Iterable[_Line]:
    """Show the first of many that are held for one reason, and count the rest."""
    for _, group in groupby(
        sorted(lines, key=lambda line: line[0].reason), lambda line: line[0].reason
    ):
        alike = [line for _, line in group]
        yield from alike[:_ALIKE_MAX]
        if len(alike) > _ALIKE_MAX:
            rest = len(alike) - _ALIKE_MAX
            yield _Line("=", "…", "", "", "", f"and {rest} more like these (-o json shows all)")


# ── one line ──────────────────────────────────────────────────────────────────────────────────────


def _line(action: Action) -> _Line:  # noqa: PLR0911, PLR0912 (it is a table)
    name = _shown(action.vm_name or action.vm or "(no VM)")
    match action:
        case Snapshot():
            why = f"{action.reason} (due {_time(action.due)})"
            return _Line("+", "snapshot", name, f"on {action.pool}", "", why)
        case Export():
            return _export(action, name)
        case Archive():
            size = f"~{render_size(action.estimate_bytes)}" if action.estimate_bytes else ""
            why = f"{action.reason} (of {_time(instant_of(action.stamp))})"
            return _Line("+", "export", name, f"ARCHIVE -> {action.remote}", size, why)
        case Replicate() | CopyVm():
            return _replication(action, name)
        case PruneReplica():
            where = sr_name(action.target_pool, action.sr, action.sr_name)
            what = f"{_time(instant_of(action.stamp))} on {where}"
            return _Line("-", "prune", name, what, "", action.reason)
        case CleanReplica():
            which = "the name of a replica" if action.rename else "a replica"
            what = f"{which} on {sr_name(action.target_pool, action.sr, action.sr_name)}"
            return _Line("~" if action.rename else "-", "clean", name, what, "", action.reason)
        case Merge():
            what = f"{_point(action.target)} into {_point(action.source)} on {action.remote}"
            size = f"~{render_size(action.data_bytes)}"
            return _Line("~", "merge", name, what, size, action.reason)
        case Prune():
            what = f"{_time(instant_of(action.stamp))} on {action.remote}"
            size = f"-{render_size(action.freed_bytes)}"
            return _Line("-", "prune", name, what, size, action.reason)
        case CleanFiles():
            what = f"{_counted(len(action.paths), 'file')} on {action.remote}"
            size = f"-{render_size(action.freed_bytes)}" if action.freed_bytes else ""
            return _Line("-", "clean", name, what, size, action.reason)
        case CleanSnapshot():
            if action.snapshot is None:
                what = f"{_counted(len(action.disks), 'disk')} of a snapshot on {action.pool}"
            else:
                what = f"a snapshot on {action.pool}"
            return _Line("-", "clean", name, what, "", action.reason)
        case Verify():
            what = f"{_time(instant_of(action.stamp))} on {action.remote}"
            size = f"≤{render_size(action.size_bytes)}" if action.size_bytes else ""
            return _Line("?", "verify", name, what, size, action.reason)
        case PowerOn():
            why = f"{action.reason} (at {_time(action.due)})"
            return _Line("+", "start", name, f"on {action.pool}", "", why)
        case CleanRestore():
            disks = f"{_counted(len(action.disks), 'disk')} of a restore"
            what = f"{'a half-made VM' if action.vm else disks} on {action.pool}"
            return _Line("-", "clean", name, what, "", action.reason)
        case RestoreVm():
            what = f"{_time(instant_of(action.stamp))} from {action.remote} to {action.pool}"
            return _Line("+", "restore", name, what, "", action.reason)
        case RestoreDisk():
            what = f"{_time(instant_of(action.stamp))} from {action.remote} to {action.output}"
            return _Line("+", "restore", name, _shown(what), "", action.reason)
        case _:
            assert_never(action)


def _replication(action: Replicate | CopyVm, name: str) -> _Line:
    where = f"-> {sr_name(action.target_pool, action.sr, action.sr_name)}"
    of = f"of {_time(instant_of(action.stamp))}"
    if isinstance(action, CopyVm):
        size = f"~{render_size(action.estimate_bytes)}" if action.estimate_bytes else ""
        return _Line("+", "replicate", name, f"COPY {where}", size, f"{action.reason} ({of})")
    fulls = [disk for disk in action.disks if disk.kind is ExportKind.FULL]
    reasons = dict.fromkeys(disk.reason.value for disk in action.disks)
    reasons.pop(Reason.BASE_PRESENT, None)
    surprises = reasons.keys() - {*map(str, _EXPECTED_FULLS)}
    kind = "delta" if not fulls else "FULL" if len(fulls) == len(action.disks) else "mixed"
    notes = [
        of,
        *([f"{'whole' if fulls else 'new replica'}: {', '.join(reasons)}"] * bool(reasons)),
    ]
    size_bytes = sum(disk.estimate_bytes for disk in action.disks)
    return _Line(
        sign="!" if surprises else "+",
        verb="replicate",
        name=name,
        what=f"{kind} {where}",
        size=f"≤{render_size(size_bytes)}" if size_bytes else "",
        why=f"{action.reason} ({'; '.join(notes)})",
    )


def _export(action: Export, name: str) -> _Line:
    fulls = [disk for disk in action.disks_to_send if disk.kind is ExportKind.FULL]
    deltas = len(action.disks_to_send) - len(fulls)
    surprises = sorted({disk.reason.value for disk in fulls} - {*map(str, _EXPECTED_FULLS)})
    kind = "delta" if deltas and not fulls else "FULL" if fulls and not deltas else "mixed"
    notes = [f"of {_time(instant_of(action.stamp))}"]
    if fulls:
        reasons = ", ".join(dict.fromkeys(disk.reason.value for disk in fulls))
        whole = (
            f"{len(fulls)} of {_counted(len(action.disks), 'disk')} whole" if deltas else "whole"
        )
        notes.append(f"{whole}: {reasons}")
    present = len(action.disks) - len(action.disks_to_send)
    if present:
        kind = kind if action.disks_to_send else "metadata"
        notes.append(f"{present} of {_counted(len(action.disks), 'disk')} there already")
    estimate = sum(disk.estimate_bytes for disk in action.disks_to_send)
    size = f"{'≤' if fulls else '~'}{render_size(estimate)}" if estimate else ""
    return _Line(
        sign="!" if surprises else "+",
        verb="export",
        name=name,
        what=f"{kind} -> {action.remote}",
        size=size,
        why=f"{action.reason} ({'; '.join(notes)})",
    )


def _held_line(held: Held, heading: str) -> _Line:
    until = f" (until {_time(held.until)})" if held.until is not None else ""
    why = f"{held.reason}: {_shown(held.why)}{until}"
    if held.action is not None:
        line = _line(held.action)
        return _Line("=", line.verb, line.name, line.what, line.size, why)
    subject = held.subject
    if heading != "held":
        subject = subject.removesuffix(f" of {heading}").removeprefix(heading).strip()
    return _Line("=", "hold", "", "", "", f"{_shown(subject)}: {why}" if subject else why)


def _point(path: str) -> str:
    """Name a file by its point's time."""
    stamp = stamp_in(path.rpartition("/")[2])
    try:
        return _time(instant_of(stamp))
    except ValueError:
        return _shown(stamp)


def _time(instant: datetime) -> str:
    utc = instant.astimezone(UTC)
    return f"{utc:%Y-%m-%d %H:%M:%S}" if utc.second else f"{utc:%Y-%m-%d %H:%M}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _shown(text: str) -> str:
    """Escape what is not printable: no name moves the cursor or begins a line."""
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if unicodedata.category(character)[0] in "CZ" and character != " "
        else character
        for character in text
    )


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %" if total else "0 %"


# ── markdown and JSON ─────────────────────────────────────────────────────────────────────────────


def markdown_of(plan: Plan, desired: Desired, observed: Observed) -> str:
    """Render for a comment on a pull request: a table for each section, then the summary."""
    parts = []
    for heading, lines in _sections(plan, desired):
        parts += [
            f"**{_cell(heading)}**",
            "",
            "| | | VM | | size | |",
            "|---|---|---|---|---:|---|",
        ]
        for line in lines:
            cells = [f"`{line.sign}`", line.verb, line.name, line.what, line.size, line.why]
            parts.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
        parts.append("")
    parts += [f"{_cell(line)}  " for line in summary_of(plan, desired, observed)]
    return "\n".join(parts).rstrip() + "\n"


def _cell(text: str) -> str:
    """Take what markdown would act on its meaning; the sign's backticks are ours."""
    if len(text) == 3 and text[0] == text[2] == "`":
        return text
    for special in "\\`*_[]<>|#@":
        text = text.replace(special, f"\\{special}")
    return text


def document_of(plan: Plan, desired: Desired, observed: Observed) -> Mapping[str, Any]:
    """Return the whole plan as JSON-ready values, in a document that says its version."""
    going = sum(action.destructive for action in plan.actions)
    return {
        "apiVersion": _API_VERSION,
        "kind": "Plan",
        "sentence": plan.sentence,
        "wakeAt": None if plan.wake_at is None else plan.wake_at.isoformat(),
        "deletions": plan.deletions,
        "destructive": {"points": going, "of": points_total(desired, observed)},
        "actions": [as_dict(action) for action in plan.actions],
        "held": [_held_document(held) for held in plan.held],
        "cancel": [
            {"action": each.action, "reason": each.reason.value, "why": each.why}
            for each in plan.cancel
        ],
    }


def _held_document(held: Held) -> Mapping[str, Any]:
    return {
        "subject": held.subject,
        "reason": held.reason.value,
        "why": held.why,
        "until": None if held.until is None else held.until.isoformat(),
        "action": None if held.action is None else as_dict(held.action),
    }
