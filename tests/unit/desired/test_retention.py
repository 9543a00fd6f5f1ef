from datetime import UTC, datetime, timedelta

import pytest

from reconciler.desired.retention import BucketKeeps, Retention

NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)


def nights(count: int, last: datetime = NOON) -> list[datetime]:
    return [last - timedelta(days=number) for number in reversed(range(count))]


def test_no_rule_keeps_everything() -> None:
    assert Retention().keeps_everything
    assert Retention().keep(nights(3), NOON) == dict.fromkeys(range(3), ("everything",))


def test_last_keeps_the_newest() -> None:
    assert Retention(last=2).keep(nights(5), NOON) == {4: ("last",), 3: ("last",)}


def test_fewer_points_than_rules_ask_for_all_stay() -> None:
    assert set(Retention(last=9, daily=9, yearly=9).keep(nights(3), NOON)) == {0, 1, 2}


def test_no_points_is_no_trouble() -> None:
    assert Retention(last=3, within=timedelta(days=1)).keep([], NOON) == {}


def test_the_latest_point_of_a_day_is_kept_with_its_names() -> None:
    taken = [NOON - timedelta(hours=6), NOON, NOON + timedelta(hours=6)]
    assert Retention(daily=7, monthly=1, yearly=1).keep(taken, NOON) == {
        2: ("daily 2026-06-15", "monthly 2026-06", "yearly 2026")
    }


def test_the_oldest_point_of_a_day_is_kept_where_that_is_asked_for() -> None:
    taken = [NOON - timedelta(days=1), *(NOON + timedelta(hours=hours) for hours in (-6, 0, 6))]
    rules = Retention(last=1, daily=2, monthly=1, bucket_keeps=BucketKeeps.OLDEST)
    assert rules.keep(taken, NOON) == {
        3: ("last",),
        1: ("daily 2026-06-15",),
        0: ("daily 2026-06-14", "monthly 2026-06"),
    }


def test_a_failed_night_does_not_use_up_a_day() -> None:
    taken = [NOON - timedelta(days=days) for days in (20, 12, 5, 0)]
    assert set(Retention(daily=3).keep(taken, NOON)) == {1, 2, 3}


def test_days_are_those_of_the_zone() -> None:
    taken = [datetime(2026, 6, 14, 20, tzinfo=UTC), datetime(2026, 6, 14, 23, tzinfo=UTC)]
    assert set(Retention(daily=5).keep(taken, NOON)) == {1}
    assert set(Retention(daily=5, zone="Europe/Paris").keep(taken, NOON)) == {0, 1}


def test_weeks_are_iso_weeks_across_the_year() -> None:
    taken = [datetime(2026, 12, day, tzinfo=UTC) for day in (27, 28, 31)]
    taken.append(datetime(2027, 1, 3, tzinfo=UTC))
    assert Retention(weekly=2).keep(taken, NOON) == {
        3: ("weekly 2026-W53",),
        0: ("weekly 2026-W52",),
    }


def test_the_hour_that_comes_twice_is_two_hours() -> None:
    taken = [datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)]
    assert Retention(hourly=5, zone="Europe/Paris").keep(taken, NOON) == {
        1: ("hourly 2026-10-25 02:00+0100",),
        0: ("hourly 2026-10-25 02:00+0200",),
    }


def test_within_keeps_what_is_young_enough_and_what_is_not_yet() -> None:
    taken = [*nights(4), NOON + timedelta(hours=1)]
    assert Retention(within=timedelta(days=1)).keep(taken, NOON) == {
        4: ("within 1d",),
        3: ("within 1d",),
        2: ("within 1d",),
    }


def test_an_endless_span_keeps_everything() -> None:
    assert len(Retention(within=timedelta.max).keep(nights(3), NOON)) == 3


def test_points_of_one_second_are_all_the_last() -> None:
    assert set(Retention(last=2, daily=1).keep([NOON] * 3, NOON)) == {1, 2}


def test_rules_are_never_negative() -> None:
    with pytest.raises(ValueError, match="zero"):
        Retention(daily=-1)


def test_an_unknown_zone_is_an_error_and_not_another_calendar() -> None:
    with pytest.raises(ValueError, match="zone"):
        Retention(daily=1, zone="Mars/Olympus").keep(nights(1), NOON)


def test_points_of_the_ends_of_time_are_points() -> None:
    ends = [datetime.min.replace(tzinfo=UTC), NOON, datetime.max.replace(tzinfo=UTC)]
    rules = Retention(hourly=9, daily=9, weekly=9, monthly=9, yearly=9, zone="Asia/Tokyo")
    assert set(rules.keep(ends, NOON)) == {0, 1, 2}


def test_points_come_oldest_first() -> None:
    with pytest.raises(AssertionError):
        Retention(last=1).keep([NOON, NOON - timedelta(days=1)], NOON)
