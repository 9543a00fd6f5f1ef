"""Words that several commands share, and the reading of times among them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer

from reconciler.cli.exits import Usage
from reconciler.cli.progress import Style
from reconciler.units import parse_span

Directories = Annotated[
    list[Path],
    typer.Argument(metavar="DIR", exists=True, help="Directories of manifests, or files."),
]
TextOrJson = Annotated[
    Literal["text", "json"], typer.Option("-o", "--output", help="How to show it.")
]
ShowProgress = Annotated[
    Style | None,
    typer.Option(
        "--progress",
        help="How to show what is moving.  [default: bars on a terminal, else a line per 30 s]",
    ),
]
Timeout = Annotated[
    str,
    typer.Option(metavar="TIME", help="How long to wait for pools and remotes to be seen."),
]
State = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Where history is kept.  [default: $RECONCILER_STATE, else ~/.local/state/reconciler]",
    ),
]


Listen = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Serve /metrics, /healthz and /readyz: PORT on loopback, HOST:PORT, or :PORT for all.",
    ),
]


def span_option(name: str, text: str) -> timedelta:
    """Read "60s" or "1h30m". Raises Usage."""
    try:
        span = parse_span(text)
    except ValueError as error:
        raise Usage(f"{name}: {error}") from error
    if not span:
        raise Usage(f"{name}: must be longer than nothing")
    return span


def instant_option(name: str, text: str | None) -> datetime | None:
    """Read a time in ISO 8601; UTC unless it says otherwise. Raises Usage."""
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise Usage(
            f"{name}: {text!r} is not a time",
            hint="write for example 2026-01-05, 2026-01-05T02:00Z or 2026-01-05T02:00+01:00",
        ) from error
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
