"""What is kept: rules as data, and which restore points they keep, as a pure function.

Each calendar rule (hourly … yearly) sorts points into buckets of the schedule's zone and keeps one
point of each of the newest N buckets that hold any: a night that failed does not use up one of
seven days. Which one is `bucket_keeps`: the *latest*, as restic has it, so that a day's point
moves on until the day is over; or the *oldest*, as Xen Orchestra has it, so that a bucket's point
is the one that it began with. `last` keeps the newest N points, `within` all points younger than a
span. A point stays if any rule keeps it; so one more rule, or a larger number, never deletes more.

Either way, pruning after every point leaves what pruning once at the end would have left (but for
the oldest of a day that comes back, where a zone moves its clock at midnight).

Weeks are ISO weeks (Monday to Sunday; 2027-01-01 lies in 2026-W53). Hours are real hours: the one
that comes twice in autumn is two buckets. No rule at all keeps everything.
"""

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from enum import StrEnum
from functools import cache, lru_cache
from math import floor
from zoneinfo import ZoneInfo

from reconciler.desired.schedule import check_zone
from reconciler.units import render_span

_DAY_S = 86400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
# Points whose metadata say they are of the ends of time are of the last years that have calendars.
_FIRST_S = (datetime(2, 1, 1, tzinfo=UTC) - _EPOCH) // _SECOND
_LAST_S = (datetime(9998, 12, 31, tzinfo=UTC) - _EPOCH) // _SECOND
_DAYS_MAX = 16384  # remembered per zone: forty-four years


class BucketKeeps(StrEnum):
    """Which point of an hour, day … year stays."""

    LATEST = "Latest"
    OLDEST = "Oldest"


@dataclass(frozen=True, slots=True)
class Retention:
    """Keep rules; 0 and None: no such rule. zone: IANA name whose calendar makes the buckets."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: timedelta | None = None
    zone: str = "UTC"
    bucket_keeps: BucketKeeps = BucketKeeps.LATEST

    def __post_init__(self) -> None:
        if min(self.last, self.hourly, self.daily, self.weekly, self.monthly, self.yearly) < 0:
            raise ValueError("a retention rule keeps zero points or more")

    @property
    def keeps_everything(self) -> bool:
        return self.within is None and not any(
            (self.last, self.hourly, self.daily, self.weekly, self.monthly, self.yearly)
        )

    def keep(self, taken: Sequence[datetime], now: datetime) -> dict[int, tuple[str, ...]]:
        """Say which points stay, and why.

        taken: aware instants, oldest first. Returns the index of each kept point with the rules
        that keep it ("last", "daily 2026-01-01", "within 30d"); what is missing may go.
        """
        if self.keeps_everything:
            return dict.fromkeys(range(len(taken)), ("everything",))
        kept: dict[int, list[str]] = {index: ["last"] for index in self._last(taken)}
        seconds = _seconds_of(taken)
        for chosen, name_of in self._buckets(seconds):
            for bucket, index in chosen:
                kept.setdefault(index, []).append(name_of(bucket))
        if self.within is not None:
            name = f"within {render_span(self.within)}"
            for index in self._young(taken, now):
                kept.setdefault(index, []).append(name)
        return {index: tuple(names) for index, names in kept.items()}

    def kept(self, taken: Sequence[datetime], now: datetime) -> Set[int]:
        """Say which points stay, as `keep` does, and not why: asked for every point there is."""
        if self.keeps_everything or self.last >= len(taken):
            return set(range(len(taken)))
        seconds = _seconds_of(taken)
        if not self.hourly and self.within is None:
            walls = _walls_of(self.zone, seconds)
            return _kept_by_days(self, tuple([wall // _DAY_S for wall in walls]))
        kept = set(self._last(taken))
        for chosen, _ in self._buckets(seconds):
            kept.update([index for _, index in chosen])
        kept.update(self._young(taken, now))
        return kept

    def _last(self, taken: Sequence[object]) -> Iterable[int]:
        newest = len(taken) - 1
        return range(newest, max(newest - self.last, -1), -1)

    def _young(self, taken: Sequence[datetime], now: datetime) -> Iterable[int]:
        for index in range(len(taken) - 1, -1, -1):
            if self.within is None or now - taken[index] > self.within:
                return
            yield index

    def _buckets(
        self, seconds: list[int]
    ) -> Iterable[tuple[Iterable[tuple[int, int]], Callable[[int], str]]]:
        """Return for each calendar rule the buckets that it keeps, each with its point's index."""
        if any((self.hourly, self.daily, self.weekly, self.monthly, self.yearly)):
            yield from self._by_walls(_walls_of(self.zone, seconds), seconds)

    def _by_walls(
        self, walls: list[int], seconds: list[int]
    ) -> Iterable[tuple[Iterable[tuple[int, int]], Callable[[int], str]]]:
        counts = (self.hourly, self.daily, self.weekly, self.monthly, self.yearly)
        choose = self._oldest if self.bucket_keeps is BucketKeeps.OLDEST else self._latest
        for (buckets_of, name_of), count in zip(_CALENDARS, counts, strict=True):
            if count:
                yield choose(buckets_of(walls, seconds), count), name_of

    @staticmethod
    def _latest(buckets: list[int], count: int) -> Iterable[tuple[int, int]]:
        filled: dict[int, int] = {}
        index = len(buckets)
        for bucket in reversed(buckets):
            index -= 1
            if bucket in filled:
                continue
            if len(filled) == count:
                break
            filled[bucket] = index
        return filled.items()

    @staticmethod
    def _oldest(buckets: list[int], count: int) -> Iterable[tuple[int, int]]:
        """Walk on to the end: where clocks are moved, an hour or a day may come back."""
        filled: dict[int, int] = {}
        index = len(buckets)
        for bucket in reversed(buckets):
            index -= 1
            if bucket in filled or len(filled) < count:
                filled[bucket] = index
        return filled.items()


@lru_cache(maxsize=16384)
def _kept_by_days(rules: Retention, days: tuple[int, ...]) -> frozenset[int]:
    """Say which points stay where only their days matter: those of most VMs are of the same days.

    days: since 1970-01-01 on the clock of the rules' zone, oldest first.
    """
    kept = set(rules._last(days))
    walls = [day * _DAY_S for day in days]
    for chosen, _ in rules._by_walls(walls, walls):
        kept.update([index for _, index in chosen])
    return frozenset(kept)


def _seconds_of(taken: Sequence[datetime]) -> list[int]:
    seconds = [floor(instant.timestamp()) for instant in taken]
    if seconds and (seconds[0] < _FIRST_S or seconds[-1] > _LAST_S):
        seconds = [min(max(second, _FIRST_S), _LAST_S) for second in seconds]
    assert seconds == sorted(seconds), "points come oldest first"
    return seconds


# ── buckets: each is one integer, and has a name ──────────────────────────────────────────────────
#
# Planning asks for hundreds of thousands of buckets, so a wall time is an integer too: seconds
# since 1970-01-01T00:00 on the zone's clock. Which day, week, month it lies in is a division or a
# look-up in a small table; datetime objects are made for names only, once each.


def _walls_of(zone: str, seconds: list[int]) -> list[int]:
    by_day = _offsets_of(zone)
    offsets = [by_day[second // _DAY_S] for second in seconds]
    return [
        second + (_offset_at(zone, second) if offset_s is None else offset_s)
        for second, offset_s in zip(seconds, offsets, strict=True)
    ]


@cache
def _offsets_of(zone: str) -> "_Offsets":
    check_zone(zone)  # so that this cache grows with the zones there are, not with what is asked
    return _Offsets(zone)


class _Offsets(dict[int, int | None]):
    """The zone's offset in seconds on each UTC day; None on a day on which the clock is moved."""

    def __init__(self, zone: str) -> None:
        super().__init__()
        self._zone = zone

    def __missing__(self, day: int) -> int | None:
        if len(self) >= _DAYS_MAX:
            self.clear()
        first, last = (_offset_at(self._zone, day * _DAY_S + second) for second in (0, _DAY_S))
        self[day] = first if first == last else None
        return self[day]


def _offset_at(zone: str, second: int) -> int:
    offset = (_EPOCH + second * _SECOND).astimezone(ZoneInfo(zone)).utcoffset()
    assert offset is not None, "every zone has an offset"
    return offset // _SECOND


def _hours_of(walls: list[int], seconds: list[int]) -> list[int]:
    """Join the hour with the offset of the clock that shows it: a repeated hour is two."""
    return [
        wall // 3600 * _DAY_S * 2 + (wall - second)
        for wall, second in zip(walls, seconds, strict=True)
    ]


def _hour_name(bucket: int) -> str:
    hour, offset_s = divmod(bucket + _DAY_S, _DAY_S * 2)
    offset = timezone(timedelta(seconds=offset_s - _DAY_S))
    return f"hourly {(_EPOCH + timedelta(hours=hour)).replace(tzinfo=offset):%Y-%m-%d %H:00%z}"


def _days_of(walls: list[int], seconds: list[int]) -> list[int]:
    return [wall // _DAY_S for wall in walls]


def _day_name(bucket: int) -> str:
    return f"daily {_date_of(bucket)}"


def _weeks_of(walls: list[int], seconds: list[int]) -> list[int]:
    return [(wall // _DAY_S + 3) // 7 for wall in walls]  # 1970-01-01 was a Thursday


def _week_name(bucket: int) -> str:
    year, week, _ = _date_of(bucket * 7).isocalendar()  # its Thursday decides the year
    return f"weekly {year}-W{week:02}"


@lru_cache(maxsize=16384)
def _month_of_day(day: int) -> int:
    date = _date_of(day)
    return date.year * 12 + date.month - 1


def _months_of(walls: list[int], seconds: list[int]) -> list[int]:
    return [_month_of_day(wall // _DAY_S) for wall in walls]


def _month_name(bucket: int) -> str:
    return f"monthly {bucket // 12}-{bucket % 12 + 1:02}"


def _years_of(walls: list[int], seconds: list[int]) -> list[int]:
    return [_month_of_day(wall // _DAY_S) // 12 for wall in walls]


def _year_name(bucket: int) -> str:
    return f"yearly {bucket}"


def _date_of(day: int) -> date:
    return date.fromordinal(_EPOCH.toordinal() + day)


_Calendar = tuple[Callable[[list[int], list[int]], list[int]], Callable[[int], str]]
_CALENDARS: tuple[_Calendar, ...] = (
    (_hours_of, lru_cache(4096)(_hour_name)),
    (_days_of, lru_cache(4096)(_day_name)),
    (_weeks_of, lru_cache(4096)(_week_name)),
    (_months_of, lru_cache(4096)(_month_name)),
    (_years_of, lru_cache(4096)(_year_name)),
)
