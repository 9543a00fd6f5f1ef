"""Slots against an oracle that walks every minute of real time, in all zones, where clocks move."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from itertools import pairwise, product
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.desired.schedule import Schedule

ZONES = sorted(
    zone
    for zone in available_timezones()
    if not zone.startswith(("right/", "posix/")) and zone not in ("Factory", "localtime")
)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
# Midnight, half an hour, two hours, a whole day, one minute past midnight, "negative" summer time.
ODD = [
    ("Africa/Cairo", 2026),
    ("America/Havana", 2026),
    ("America/Santiago", 2026),
    ("America/St_Johns", 2010),
    ("Antarctica/Troll", 2026),
    ("Asia/Beirut", 2026),
    ("Asia/Gaza", 2026),
    ("Atlantic/Azores", 2026),
    ("Australia/Lord_Howe", 2026),
    ("Africa/Casablanca", 2026),
    ("Pacific/Apia", 2011),
    ("Europe/Dublin", 2026),
    ("Europe/Paris", 2026),
    ("America/Caracas", 2016),
    ("Asia/Pyongyang", 2018),
]


@cache
def changes(zone: str, year: int) -> list[datetime]:
    """Return the UTC midnights of a year after which the zone's clock is moved within a day."""
    tz = ZoneInfo(zone)
    days = [datetime(year, 1, 2, tzinfo=UTC) + number * DAY for number in range(362)]
    offsets = [day.astimezone(tz).utcoffset() for day in days]
    return [day for day, a, b in zip(days, offsets, offsets[1:], strict=False) if a != b]


@lru_cache(4)
def clock_line(zone: str, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Return each minute of real time with the wall time it is shown as."""
    tz, line, instant = ZoneInfo(zone), [], start
    while instant < end:
        line.append((instant, instant.astimezone(tz).replace(tzinfo=None, fold=0)))
        instant += MINUTE
    return line


def oracle(
    zone: str, start: datetime, end: datetime, minutes: set[int], hours: set[int]
) -> list[datetime]:
    """Return the slots from `start` to `end` of "minutes hours * * *", by their definition."""
    line = clock_line(zone, start - 2 * DAY, end + 2 * DAY)
    if len(hours) == 24:
        slots = {instant for instant, wall in line if wall.minute in minutes}
    else:
        first_shown = {wall: instant for instant, wall in reversed(line)}
        slots = set()
        for wall in wanted(line[0][1].date() + DAY, line[-1][1].date() - DAY, minutes, hours):
            if wall in first_shown:
                slots.add(first_shown[wall])
            else:
                slots.add(next(b for (_, w), (b, v) in pairwise(line) if w < wall < v))
    return sorted(slot for slot in slots if start <= slot < end)


def wanted(first: date, last: date, minutes: set[int], hours: set[int]) -> Iterator[datetime]:
    day = first
    while day <= last:
        for hour, minute in product(sorted(hours), sorted(minutes)):
            yield datetime.combine(day, time(hour, minute))
        day += DAY


def check(zone: str, change: datetime, minutes: set[int], hours: set[int]) -> None:
    start, end = change - DAY, change + 2 * DAY
    expected = oracle(zone, start, end, minutes, hours)
    cron = f"{','.join(map(str, sorted(minutes)))} {','.join(map(str, sorted(hours)))} * * *"
    schedule = Schedule.parse(cron, zone)

    forward, slot = [], schedule.next_due(start - MINUTE)
    while slot < end:
        forward.append(slot)
        slot = schedule.next_due(slot)
    assert forward == expected

    backward, due = [], schedule.last_due(end - MINUTE)
    while due is not None and due >= start:
        backward.append(due)
        due = schedule.last_due(due - timedelta(microseconds=1))
    assert backward[::-1] == expected


TIMES = [
    ({30}, {2}),
    ({0}, {0}),
    ({1, 59}, {0, 23}),
    ({0, 15, 30, 45}, {1, 2, 3}),
    ({0, 30}, set(range(24))),
    ({7}, set(range(24))),
    ({0}, set(range(0, 24, 2))),
]


@pytest.mark.parametrize(("zone", "year"), ODD)
def test_where_clocks_move_oddly(zone: str, year: int) -> None:
    moved = changes(zone, year)
    assert moved
    for change in moved[:4]:
        for minutes, hours in TIMES:
            check(zone, change, minutes, hours)


@settings(max_examples=settings.default.max_examples // 2, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    year=st.integers(2000, 2035),
    which=st.integers(0, 3),
    minutes=st.sets(st.integers(0, 59), min_size=1, max_size=3),
    hours=st.one_of(st.just(set(range(24))), st.sets(st.integers(0, 4), min_size=1, max_size=3)),
)
def test_everywhere(zone: str, year: int, which: int, minutes: set[int], hours: set[int]) -> None:
    moved = changes(zone, year)
    change = moved[which % len(moved)] if moved else datetime(year, 6, 1, tzinfo=UTC)
    check(zone, change, minutes, hours)


@pytest.mark.parametrize("part", range(8))
def test_a_nightly_backup_runs_once_a_night_in_every_zone(part: int) -> None:
    for zone in ZONES[part::8]:
        schedule = Schedule.parse("30 2 * * *", zone)
        for change in changes(zone, 2026):
            slot, slots = change - 3 * DAY, []
            for _ in range(6):
                slot = schedule.next_due(slot)
                slots.append(slot)
            nights = [found.astimezone(ZoneInfo(zone)).date() for found in slots]
            assert nights == [nights[0] + number * DAY for number in range(6)], zone


@given(
    cron=st.sampled_from(
        ["*/30 * * * *", "0 2 * * *", "15 3 * * MON-FRI", "0 0 1 * *", "0 4 L * *", "0 0 29 2 *"]
    ),
    zone=st.sampled_from(ZONES),
    now=st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),
)
@settings(deadline=None)
def test_due_slots_bracket_now_and_agree(cron: str, zone: str, now: datetime) -> None:
    schedule = Schedule.parse(cron, zone)
    last, following = schedule.last_due(now), schedule.next_due(now)
    assert last is not None
    assert last <= now < following
    assert schedule.next_due(last) == following
    assert schedule.last_due(following) == following
    assert schedule.last_due(following - timedelta(microseconds=1)) == last


@given(text=st.text(max_size=40), zone=st.text(max_size=40))
@settings(deadline=None)
def test_any_text_is_taken_or_refused_with_a_word(text: str, zone: str) -> None:
    for cron, name in ((text, "UTC"), ("0 0 * * *", zone)):
        try:
            schedule = Schedule.parse(cron, name)
        except ValueError as error:
            assert str(error)
        else:
            assert schedule.next_due(datetime(2026, 1, 1, tzinfo=UTC)).year >= 2026


@given(st.lists(st.text("0123456789*/,-LW#?HMONJA", max_size=6), min_size=5, max_size=5))
@settings(deadline=None)
def test_any_five_fields_are_taken_or_refused_with_a_word(fields: list[str]) -> None:
    try:
        schedule = Schedule.parse(" ".join(fields))
    except ValueError as error:
        assert str(error)
    else:
        assert schedule.next_due(datetime(2026, 1, 1, tzinfo=UTC)).year >= 2026
