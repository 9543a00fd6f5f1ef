"""Sizes and spans as people write them: "64MiB", "30d", "1h30m"; parse and render.

Knows no clock and no field names: callers put the field and the line before these messages.
"""

import re
from datetime import timedelta

_SIZE_UNITS: dict[str, int] = {
    "": 1,
    "B": 1,
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGTP", 1)},
    **{f"{prefix}i": 1024**power for power, prefix in enumerate("KMGTP", 1)},
    **{f"{prefix}B": 1000**power for power, prefix in enumerate("KMGTP", 1)},
}
_SPAN_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SIZE = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,9}))?\s*([A-Za-z]*)")
_SPAN = re.compile(r"([0-9]{1,12})([smhdw])")


def parse_size(text: str) -> int:
    """Parse "64MiB", "200Mi", "1.5GiB", "4096" to bytes. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[3] not in _SIZE_UNITS:
        raise ValueError(f"{text[:40]!r} is not a size; write for example 512, 64MiB or 1.5GiB")
    unit, fraction = _SIZE_UNITS[match[3]], match[2] or "0"
    parts = int(fraction) * unit // int(10 ** len(fraction))
    return int(match[1]) * unit + parts


def parse_span(text: str) -> timedelta:
    """Parse "90s", "1h30m", "30d", "2w". Raises ValueError."""
    stripped = text.strip()
    if not stripped or _SPAN.sub("", stripped):
        raise ValueError(
            f"{text[:40]!r} is not a duration; write for example 90s, 15m, 1h30m or 30d"
        )
    try:
        return timedelta(
            seconds=sum(int(count) * _SPAN_UNITS[unit] for count, unit in _SPAN.findall(stripped))
        )
    except OverflowError as error:
        raise ValueError(f"{text[:40]!r} is longer than any calendar") from error


def render_size(size_bytes: int) -> str:
    """Render bytes for people, three significant digits: "4.1 GiB", "512 B"."""
    value = float(size_bytes)
    units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while abs(value) >= 1023.5 and len(units) > 1:  # what would round up to 1024
        value /= 1024
        units.pop(0)
    whole = units[0] == "B" or abs(value) >= 99.95
    return f"{value:.0f} {units[0]}" if whole else f"{value:.1f} {units[0]}"


def render_span(span: timedelta) -> str:
    """Render a span for people, two units at most: "3h 12m", "2d", "45s"."""
    seconds = int(span.total_seconds())
    if seconds < 0:
        return f"-{render_span(-span)}"
    parts = []
    for unit, unit_s in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, unit_s)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"
