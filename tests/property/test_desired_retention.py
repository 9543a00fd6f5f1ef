"""Retention against a plain oracle over years, and its laws."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from reconciler.desired.retention import BucketKeeps, Retention

ZONES = [
    "UTC",
    "Europe/Paris",
    "America/New_York",
    "America/Havana",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Kiritimati",
    "Pacific/Apia",
    "Pacific/Marquesas",
]
RULES = ("last", "hourly", "daily", "weekly", "monthly", "yearly")

BUCKETS: dict[str, Callable[[datetime], object]] = {
    "hourly": lambda wall: (wall.date(), wall.hour, wall.utcoffset()),
    "daily": lambda wall: wall.date(),
    "weekly": lambda wall: wall.isocalendar()[:2],
    "monthly": lambda wall: (wall.year, wall.month),
    "yearly": lambda wall: wall.year,
}

instants = st.datetimes(datetime(2009, 12, 1), datetime(2031, 2, 1), timezones=st.just(UTC))
# Near the ends of years and around the moves of clocks, where buckets go wrong.
close = st.builds(
    lambda year, day, minute: datetime(year, *day, tzinfo=UTC) + timedelta(minutes=minute),
    st.integers(2010, 2030),
    st.sampled_from([(1, 1), (12, 29), (12, 31), (2, 28), (3, 28), (10, 25), (11, 1)]),
    st.integers(-3 * 1440, 3 * 1440),
)
points = st.lists(st.one_of(instants, close), max_size=40).map(sorted)
counts = st.integers(0, 6)
retentions = st.builds(
    Retention,
    last=counts,
    hourly=counts,
    daily=counts,
    weekly=counts,
    monthly=counts,
    yearly=counts,
    within=st.none() | st.timedeltas(timedelta(), timedelta(days=9000)),
    zone=st.sampled_from(ZONES),
    bucket_keeps=st.sampled_from(BucketKeeps),
)


def oracle(rules: Retention, taken: list[datetime], now: datetime) -> set[int]:
    if rules.keeps_everything:
        return set(range(len(taken)))
    kept = set(range(len(taken))[-rules.last :]) if rules.last else set()
    zone = ZoneInfo(rules.zone)
    for name, bucket_of in BUCKETS.items():
        buckets: dict[object, list[int]] = {}
        for index, instant in enumerate(taken):
            buckets.setdefault(bucket_of(instant.astimezone(zone)), []).append(index)
        newest = sorted(buckets.values(), key=max, reverse=True)[: getattr(rules, name)]
        one_of = min if rules.bucket_keeps is BucketKeeps.OLDEST else max
        kept |= {one_of(bucket) for bucket in newest}
    if rules.within is not None:
        kept |= {index for index, instant in enumerate(taken) if now - instant <= rules.within}
    return kept


@settings(max_examples=4 * settings.default.max_examples, deadline=None)
@given(rules=retentions, taken=points, now=instants)
@example(  # two points, and the last week of 2026 is week 53
    Retention(weekly=1),
    [datetime(2026, 12, 31, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)],
    datetime(2027, 1, 2, tzinfo=UTC),
)
@example(  # midnight comes twice: the day that is left and entered again is one
    Retention(daily=1, zone="America/St_Johns", bucket_keeps=BucketKeeps.OLDEST),
    [
        datetime(2010, 11, 7, 2, 30, 30, tzinfo=UTC),
        datetime(2010, 11, 7, 2, 45, tzinfo=UTC),
        datetime(2010, 11, 7, 4, tzinfo=UTC),
    ],
    datetime(2010, 11, 8, tzinfo=UTC),
)
def test_what_is_kept_is_what_the_rules_say(
    rules: Retention, taken: list[datetime], now: datetime
) -> None:
    kept = rules.keep(taken, now)
    assert set(kept) == oracle(rules, taken, now)
    assert all(names for names in kept.values())


@settings(deadline=None)
@given(rules=retentions, taken=points, now=instants)
def test_what_is_kept_is_the_same_whether_or_not_it_is_asked_why(
    rules: Retention, taken: list[datetime], now: datetime
) -> None:
    assert rules.kept(taken, now) == set(rules.keep(taken, now))


@settings(deadline=None)
@given(
    rules=retentions.filter(lambda rules: not rules.keeps_everything),
    taken=points,
    now=instants,
    name=st.sampled_from(RULES),
    more=st.integers(1, 5),
)
def test_one_more_rule_never_deletes_more(
    rules: Retention, taken: list[datetime], now: datetime, name: str, more: int
) -> None:
    widened = replace(rules, **{name: getattr(rules, name) + more})
    assert set(rules.keep(taken, now)) <= set(widened.keep(taken, now))
    longer = replace(rules, within=(rules.within or timedelta()) + timedelta(days=more))
    assert set(rules.keep(taken, now)) <= set(longer.keep(taken, now))


@settings(deadline=None)
@given(rules=retentions, taken=points.filter(bool), now=instants)
def test_pruning_twice_is_pruning_once(
    rules: Retention, taken: list[datetime], now: datetime
) -> None:
    left = [taken[index] for index in sorted(rules.keep(taken, now))]
    assert len(rules.keep(left, now)) == len(left)


@settings(deadline=None)
@given(rules=retentions, taken=points.filter(bool))
def test_pruning_after_every_point_is_pruning_once(rules: Retention, taken: list[datetime]) -> None:
    """But for a day that is left, and entered again when the clock is moved at midnight."""
    walls = [instant.astimezone(ZoneInfo(rules.zone)) for instant in taken]
    for bucket_of in BUCKETS.values():
        buckets = [bucket_of(wall) for wall in walls]
        assume(len(list(groupby(buckets))) == len(set(buckets)))
    left: list[datetime] = []
    for instant in taken:
        left.append(instant)
        left = [left[index] for index in sorted(rules.keep(left, instant))]
    assert left == [taken[index] for index in sorted(rules.keep(taken, taken[-1]))]


@given(rules=retentions, taken=points.filter(bool))
def test_any_counting_rule_keeps_the_newest_point(rules: Retention, taken: list[datetime]) -> None:
    """So does `last` alone where buckets keep their oldest: why manifests ask for both."""
    latest = rules.bucket_keeps is BucketKeeps.LATEST
    if rules.last or (latest and any(getattr(rules, name) for name in RULES)):
        assert len(taken) - 1 in rules.keep(taken, taken[-1])


@settings(deadline=None)
@given(
    name=st.sampled_from(list(BUCKETS)),
    count=counts.filter(bool),
    zone=st.sampled_from(ZONES),
    taken=points.filter(bool),
    more=st.integers(1, 40),
)
def test_the_oldest_of_a_bucket_stays_it_whatever_comes(
    name: str, count: int, zone: str, taken: list[datetime], more: int
) -> None:
    """As long as the bucket counts: so a point kept for its month was so from the first day on."""
    rules = Retention(**{name: count}, zone=zone, bucket_keeps=BucketKeeps.OLDEST)
    later = [*taken, *(taken[-1] + timedelta(hours=7 * number) for number in range(1, more))]
    before = {taken[index]: why for index, why in rules.keep(taken, taken[-1]).items()}
    after = {later[index]: why for index, why in rules.keep(later, later[-1]).items()}
    still = {why for names in after.values() for why in names}
    for instant, names in before.items():
        assert set(names) & still <= set(after.get(instant, ()))


@settings(deadline=None)
@given(rules=retentions, taken=points, now=instants)
def test_instants_count_whatever_zone_they_are_written_in(
    rules: Retention, taken: list[datetime], now: datetime
) -> None:
    elsewhere = [instant.astimezone(ZoneInfo("Asia/Tokyo")) for instant in taken]
    assert rules.keep(elsewhere, now) == rules.keep(taken, now)
