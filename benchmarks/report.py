"""What was measured, beside the limit that was measured in the same run, as a table and as JSON."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

MIB = 1024 * 1024
GIB = 1024 * MIB


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    limit: what the value is compared with; None if there is none. at_least, at_most: the aim for
    the ratio to the limit, or for the value itself where there is no limit.
    """

    benchmark: str
    work: str
    value: float
    unit: str
    limit: float | None = None
    limit_name: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.value / self.limit if self.limit else None

    @property
    def judged(self) -> str:
        """Whether the aim was reached; empty if there is none."""
        compared = self.ratio if self.ratio is not None else self.value
        if self.at_least is not None:
            return "ok" if compared >= self.at_least else "below"
        if self.at_most is not None:
            return "ok" if compared <= self.at_most else "above"
        return ""

    @property
    def aim(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else ""


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def as_table(figures: Sequence[Figure]) -> str:
    """Columns as wide as they need to be; one line a figure."""
    rows = [("benchmark", "work", "value", "limit of the same run", "ratio", "aim", "")]
    for figure in figures:
        limit = f"{_short(figure.limit)} {figure.limit_name}" if figure.limit else ""
        ratio = f"{figure.ratio:.2f}" if figure.ratio is not None else ""
        rows.append(
            (
                figure.benchmark,
                figure.work,
                f"{_short(figure.value)} {figure.unit}",
                limit,
                ratio,
                figure.aim,
                figure.judged,
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def as_json(figures: Sequence[Figure], notes: Sequence[str]) -> str:
    entries = [
        {**asdict(figure), "ratio": figure.ratio, "judged": figure.judged} for figure in figures
    ]
    return json.dumps({"figures": entries, "notes": list(notes)}, indent=2)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
