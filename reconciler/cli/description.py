"""What a description is made of: facts, tables, a document; and parts that kinds share. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from reconciler.cli.escape import escape
from reconciler.cli.exits import Failure
from reconciler.cli.listings import iso_of, time_of
from reconciler.cli.output import table_of
from reconciler.desired.retention import BucketKeeps, Retention
from reconciler.desired.selector import Selector
from reconciler.plan.plan import Held
from reconciler.status.report import Report
from reconciler.units import render_span

Name = TypeVar("Name", bound=str)
Settings = TypeVar("Settings")


@dataclass(frozen=True, slots=True)
class Table:
    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Description:
    """facts: name and value, in order; a fact without a value is left out."""

    facts: Sequence[tuple[str, object]]
    document: dict[str, Any]
    tables: Sequence[Table] = field(default_factory=tuple)


def text_of(description: Description, *, colour: bool) -> str:
    """Lay out a description for a person."""
    facts = [(name, str(value)) for name, value in description.facts if value not in (None, "")]
    width = max((len(name) for name, _ in facts), default=0) + 2
    parts = [f"{name + ':':<{width}} {escape(value)}\n" for name, value in facts]
    for table in description.tables:
        if table.rows:
            lines = table_of(table.headers, table.rows, colour=colour).splitlines()
            parts.append(f"\n{table.title}:\n" + "".join(f"  {line}\n" for line in lines))
    return "".join(parts)


def named(known: Mapping[Name, Settings], kind: str, name: str) -> Settings:
    """Find what manifests describe under a name. Raises Failure."""
    found = next((settings for key, settings in known.items() if key == name), None)
    if found is None:
        names = ", ".join(sorted(known)) or "none"
        raise Failure(
            "no manifest that can be used describes it",
            subject=f"{kind}/{name}",
            hint=f"there are: {names}",
        )
    return found


def held_of(report: Report, words: str) -> list[Held]:
    """Find what is held of an object by the words that name it."""
    return [
        each
        for each in report.plan.held
        if f" {words} " in f" {each.subject} "
        or (each.action is not None and words == f"job {getattr(each.action, 'job', None)}")
    ]


def held_table(held: Iterable[Held]) -> Table:
    """Show what is held, for a person."""
    rows = [[each.subject, each.reason.value, time_of(each.until), each.why] for each in held]
    return Table("Held", ("WHAT", "REASON", "UNTIL", "WHY"), rows)


def held_dicts(held: Iterable[Held]) -> list[dict[str, Any]]:
    """Show what is held, for a program."""
    return [
        {
            "subject": each.subject,
            "reason": each.reason.value,
            "why": each.why,
            "until": iso_of(each.until),
        }
        for each in held
    ]


def selector_text(selector: Selector) -> str:
    """Say which VMs a job chooses."""
    parts = ["all VMs"] if selector.all else []
    for name, value in asdict(selector).items():
        if name != "all" and value:
            parts.append(f"{name.replace('_', ' ')} {', '.join(sorted(value))}")
    return "; ".join(parts)


def retention_text(retention: Retention) -> str:
    """Say what a schedule keeps."""
    if retention.keeps_everything:
        return "everything"
    rules = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
    parts = [f"{rule} {getattr(retention, rule)}" for rule in rules if getattr(retention, rule)]
    if retention.bucket_keeps is BucketKeeps.OLDEST:
        parts.append("the oldest of each")
    if retention.within is not None:
        parts.append(f"all within {render_span(retention.within)}")
    return ", ".join(parts)
