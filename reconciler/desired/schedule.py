"""When: cron with an IANA time zone, as slots on the line of real time.

The calendar is Debian cron's, read by `cronsim` on wall time that knows no zones: five fields; if
both the day of the month and the day of the week are restricted, either is enough. What a zone
does to wall time is decided here, by one rule:

- If the hour field names every hour (`*/30 * * * *`), real time counts: each instant whose wall
  time matches is a slot. In the hour that comes twice it fires twice, each real half hour.
- Otherwise (`30 2 * * *`) each matching wall time is one slot: a repeated one at its first
  occurrence, a skipped one at the first instant after the gap. A night never has two runs or none.

Instants in and out are aware; what comes out is UTC. Nothing here asks what time it is.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS = (
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of the month", "1-31, L or LW"),
    ("month", "1-12 or JAN-DEC"),
    ("day of the week", "0-7 or SUN-SAT, 5L, MON#2"),
)
_EVERY_HOUR = frozenset(range(24))
_CHARACTERS_MAX = 200  # of an expression: no calendar needs more, and parsing costs by the term
_NEIGHBOURHOOD = timedelta(hours=26)  # no wall clock is further from UTC, and no two changes closer
_WINDOWS_MAX = 8192
_YEARS = (1900, 9900)  # in which there are slots; beyond, calendars and their arithmetic end
_EXAMPLE = "for example 30 2 * * *, or @hourly, @daily, @weekly …"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A cron expression in a zone; both are checked, `parse` is the way in."""

    cron: str
    zone: str = "UTC"

    @classmethod
    def parse(cls, cron: str, zone: str = "UTC") -> "Schedule":
        """Check an expression and a zone. Raises ValueError with a text for the author."""
        check_zone(zone)
        text = " ".join(cron.split())
        check_cron(text)
        return cls(text, zone)

    def last_due(self, now: datetime) -> datetime | None:
        """Return the latest slot at or before `now`; None if fifty years hold none."""
        return self._window(now)[0]

    def next_due(self, now: datetime) -> datetime:
        """Return the first slot after `now`; the end of time if fifty years hold none."""
        return self._window(now)[1] or datetime.max.replace(tzinfo=UTC)

    def _window(self, now: datetime) -> "_Window":
        """Return the slots on either side of `now`, from memory while `now` stays between them."""
        known = _windows.get((self.cron, self.zone))
        if known is not None:
            last, following = known
            if last is not None and following is not None and last <= now < following:
                return known
        if not _YEARS[0] <= now.year < _YEARS[1]:
            return None, None
        instant = now.astimezone(UTC)
        window = (_latest(self.cron, self.zone, instant), _first(self.cron, self.zone, instant))
        if len(_windows) >= _WINDOWS_MAX:
            _windows.clear()
        _windows[self.cron, self.zone] = window
        return window


_Window = tuple[datetime | None, datetime | None]
_windows: dict[tuple[str, str], _Window] = {}


def check_zone(zone: str) -> None:
    """Raise ValueError unless `zone` is a name of the IANA database."""
    # "right/…" counts leap seconds, "localtime" depends on the machine: neither says when.
    if not zone.startswith(("right/", "posix/", "localtime", "posixrules", "Factory")):
        try:
            ZoneInfo(zone)
            return
        except (ValueError, KeyError, OSError):
            pass  # unknown, or a path trick, or a directory such as "Europe"
    names = {name.casefold(): name for name in available_timezones()}
    near = get_close_matches(zone.casefold()[:64], names, n=1, cutoff=0.6)
    advice = f"did you mean {names[near[0]]}?" if near else "for example Europe/Paris"
    raise ValueError(f"{_quoted(zone)} is not an IANA time zone; {advice}")


def check_cron(cron: str) -> None:
    if cron.startswith("@"):
        if cron.casefold() not in _NICKNAMES:
            raise ValueError(f"{_quoted(cron)} is not known; there are {', '.join(_NICKNAMES)}")
        return
    fields = cron.split(" ")
    if not cron or len(cron) > _CHARACTERS_MAX or len(fields) != len(_FIELDS):
        count = len(fields) if cron else 0
        if count == len(_FIELDS) + 1:
            raise ValueError("must have five fields; seconds are not supported")
        raise ValueError(f"must have five fields; {_EXAMPLE}")
    for position, (field, (name, allowed)) in enumerate(zip(fields, _FIELDS, strict=True)):
        alone = ["*"] * len(_FIELDS)
        alone[position] = field
        try:
            CronSim(" ".join(alone), datetime(2000, 1, 1))
        except (CronSimError, ValueError) as error:
            stable = " (H, a hashed minute, is not supported)" if field[:1].upper() == "H" else ""
            raise ValueError(
                f"{_quoted(field)} is no {name}; {allowed}, with * , - and /{stable}"
            ) from error
    try:
        next(CronSim(cron, datetime(2000, 1, 1)))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"{_quoted(cron)} names a date that never comes") from error


def _quoted(text: str) -> str:
    return f'"{text[:64]}"'


# ── slots ─────────────────────────────────────────────────────────────────────────────────────────


def _latest(cron: str, zone: str, now: datetime) -> datetime | None:
    """Walk matching wall times backwards from where `now` could stand on any nearby clock.

    A later wall time is never an earlier slot by more than the clocks around it were moved, so
    the walk goes on for that much after its first hit: for nothing, but a few nights a year.
    """
    best: datetime | None = None
    stop: datetime | None = None
    for wall in _walls(cron, _wall_bound(zone, now, max), reverse=True):
        if stop is not None and wall < stop:
            break
        found = [slot for slot in _slots(cron, zone, wall) if slot <= now]
        if found and (best is None or max(found) > best):
            best = max(found)
        if found and stop is None:
            stop = wall - _moved(zone, wall)
    return best


def _first(cron: str, zone: str, now: datetime) -> datetime | None:
    """The mirror image of `_latest`: walk forwards to the first slot after `now`."""
    best: datetime | None = None
    stop: datetime | None = None
    for wall in _walls(cron, _wall_bound(zone, now, min), reverse=False):
        if stop is not None and wall > stop:
            break
        found = [slot for slot in _slots(cron, zone, wall) if slot > now]
        if found and (best is None or min(found) < best):
            best = min(found)
        if found and stop is None:
            stop = wall + _moved(zone, wall)
    return best


def _walls(cron: str, start: datetime, *, reverse: bool) -> Iterator[datetime]:
    """Yield matching wall times from `start` on, inclusive, until fifty years hold none."""
    second = timedelta(seconds=1)
    edge = start.replace(microsecond=0) + (second if reverse else -second)
    try:
        yield from CronSim(_NICKNAMES.get(cron.casefold(), cron), edge, reverse=reverse)
    except OverflowError:
        return  # the first or the last year of the calendar


def _slots(cron: str, zone: str, wall: datetime) -> Iterator[datetime]:
    """Yield the instants that a matching wall time stands for, by the rule of this module."""
    tz = ZoneInfo(zone)
    earlier, later = (wall.replace(tzinfo=tz, fold=fold).astimezone(UTC) for fold in (0, 1))
    skipped = later < earlier  # PEP 495: in a gap, fold 0 reads the clock of before it
    if not _in_real_time(cron):
        yield _end_of_gap(tz, later, earlier) if skipped else earlier
    elif not skipped:
        yield earlier
        if later != earlier:
            yield later


def _end_of_gap(tz: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Find the instant at which the clock was moved, by halving, to the second."""
    offset = after.astimezone(tz).utcoffset()
    low, high = 0, int((after - before).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        moved = (before + timedelta(seconds=middle)).astimezone(tz).utcoffset() == offset
        low, high = (low, middle) if moved else (middle, high)
    return before + timedelta(seconds=high)


def _wall_bound(
    zone: str, now: datetime, extreme: Callable[[Iterable[timedelta]], timedelta]
) -> datetime:
    naive = now.replace(tzinfo=None)
    return naive + extreme(_offsets(zone, naive))


def _moved(zone: str, wall: datetime) -> timedelta:
    offsets = _offsets(zone, wall)
    return max(offsets) - min(offsets)


def _offsets(zone: str, around: datetime) -> list[timedelta]:
    tz = ZoneInfo(zone)
    return [
        (around + shift).replace(tzinfo=tz).utcoffset() or timedelta()
        for shift in (-_NEIGHBOURHOOD, timedelta(), _NEIGHBOURHOOD)
    ]


@cache
def _in_real_time(cron: str) -> bool:
    hours = CronSim(_NICKNAMES.get(cron.casefold(), cron), datetime(2000, 1, 1)).hours
    return hours == _EVERY_HOUR
