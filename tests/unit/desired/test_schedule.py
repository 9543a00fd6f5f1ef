import itertools
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.desired.schedule import Schedule, check_cron, check_zone

SECOND = timedelta(seconds=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def slots(cron: str, zone: str, start: str, count: int) -> list[str]:
    schedule, found, instant = Schedule.parse(cron, zone), [], at(start)
    for _ in range(count):
        instant = schedule.next_due(instant)
        found.append(f"{instant:%m-%dT%H:%M}")
    return found


@pytest.mark.parametrize(
    ("cron", "last", "following"),
    [
        ("0 2 * * *", "2026-01-15T02:00Z", "2026-01-16T02:00Z"),
        ("@hourly", "2026-01-15T12:00Z", "2026-01-15T13:00Z"),
        ("@daily", "2026-01-15T00:00Z", "2026-01-16T00:00Z"),
        ("@Weekly", "2026-01-11T00:00Z", "2026-01-18T00:00Z"),
        ("@monthly", "2026-01-01T00:00Z", "2026-02-01T00:00Z"),
        ("@yearly", "2026-01-01T00:00Z", "2027-01-01T00:00Z"),
        ("30 4 1,15 * FRI", "2026-01-15T04:30Z", "2026-01-16T04:30Z"),  # either day is enough
        ("0 3 L * *", "2025-12-31T03:00Z", "2026-01-31T03:00Z"),
        ("0 3 * * MON#2", "2026-01-12T03:00Z", "2026-02-09T03:00Z"),
        ("0 0 29 2 *", "2024-02-29T00:00Z", "2028-02-29T00:00Z"),
        ("*/20 12 * * *", "2026-01-15T12:20Z", "2026-01-15T12:40Z"),
    ],
)
def test_the_slots_around_an_instant(cron: str, last: str, following: str) -> None:
    schedule, now = Schedule.parse(cron), at("2026-01-15T12:34:56Z")
    assert schedule.last_due(now) == at(last)
    assert schedule.next_due(now) == at(following)


def test_a_slot_is_due_from_its_instant_on() -> None:
    schedule, slot = Schedule.parse("0 2 * * *"), at("2026-01-15T02:00Z")
    assert schedule.last_due(slot) == slot
    assert schedule.next_due(slot) == slot + timedelta(days=1)
    assert schedule.last_due(slot - timedelta(microseconds=1)) == slot - timedelta(days=1)
    assert schedule.next_due(slot - SECOND) == slot


def test_a_skipped_time_comes_at_the_first_instant_after_the_gap() -> None:
    assert slots("30 2 * * *", "Europe/Paris", "2026-03-27T12:00Z", 3) == [
        "03-28T01:30",
        "03-29T01:00",  # 03:00 in Paris
        "03-30T00:30",
    ]


def test_several_skipped_times_come_as_one() -> None:
    assert slots("0,20,40 2 * * *", "Europe/Paris", "2026-03-29T00:00Z", 2) == [
        "03-29T01:00",
        "03-30T00:00",
    ]


def test_a_repeated_time_comes_once_the_first_time() -> None:
    assert slots("30 2 * * *", "Europe/Paris", "2026-10-24T12:00Z", 3) == [
        "10-25T00:30",
        "10-26T01:30",
        "10-27T01:30",
    ]


def test_every_half_hour_is_every_real_half_hour() -> None:
    for start in ("2026-10-24T23:40Z", "2026-03-28T23:40Z"):
        found = slots("*/30 * * * *", "Europe/Paris", start, 8)
        instants = [datetime.strptime(f"2026-{text}", "%Y-%m-%dT%H:%M") for text in found]
        assert {b - a for a, b in itertools.pairwise(instants)} == {timedelta(minutes=30)}


def test_in_the_middle_of_a_repeated_hour_the_past_slot_is_past() -> None:
    schedule = Schedule.parse("30 2 * * *", "Europe/Paris")
    second_time = at("2026-10-25T01:10Z")  # 02:10 again
    assert schedule.last_due(second_time) == at("2026-10-25T00:30Z")
    assert schedule.next_due(second_time) == at("2026-10-26T01:30Z")


def test_a_day_that_was_skipped_as_a_whole() -> None:
    assert slots("30 2 * * *", "Pacific/Apia", "2011-12-29T00:00Z", 3) == [
        "12-29T12:30",
        "12-30T10:00",  # 30 December did not exist; midnight of the 31st did
        "12-30T12:30",
    ]


def test_an_answer_from_memory_is_the_answer() -> None:
    schedule = Schedule.parse("0 2 * * *")
    for text in (
        "2026-01-15T02:00Z",
        "2026-01-15T23:00Z",
        "2026-01-14T01:00Z",
        "2026-01-16T02:00Z",
    ):
        now = at(text)
        again = Schedule.parse("0  2 * * *", "Etc/UTC")
        assert schedule.last_due(now) == again.last_due(now)


def test_at_the_ends_of_the_calendar() -> None:
    schedule = Schedule.parse("0 2 1 1 *", "Asia/Tokyo")
    assert schedule.next_due(datetime.max.replace(tzinfo=UTC)) == datetime.max.replace(tzinfo=UTC)
    assert schedule.last_due(datetime.min.replace(tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("cron", "text"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("0 0 0 * * *", "seconds"),
        ("60 * * * *", '"60" is no minute'),
        ("0 24 * * *", '"24" is no hour'),
        ("0 0 0 * *", '"0" is no day of the month'),
        ("0 0 * 13 *", '"13" is no month'),
        ("0 0 * * 8", '"8" is no day of the week'),
        ("0 0 * * FRI-MON", "day of the week"),
        ("H * * * *", "not supported"),
        ("*/0 * * * *", "minute"),
        ("1,,2 * * * *", "minute"),
        ("@nightly", "@daily"),
        ("@reboot", "@daily"),
        ("0 0 31 2 *", "never comes"),
        ("0 0 31 4,6,9,11 *", "never comes"),
        ("0 0 */31 2 MON#5", "never comes"),
        ("1" * 300 + " * * * *", "five fields"),
    ],
)
def test_what_is_no_cron_is_refused_with_a_reason(cron: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        check_cron(" ".join(cron.split()))


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("europe/paris", "Europe/Paris"),
        ("Europe/Pari", "Europe/Paris"),
        ("Europe", "not an IANA"),
        ("", "not an IANA"),
        ("../../etc/passwd", "not an IANA"),
        ("/etc/localtime", "not an IANA"),
        ("right/UTC", "not an IANA"),
        ("localtime", "not an IANA"),
        ("a" * 10_000, "not an IANA"),
        ("Europe/Paris\x00", "not an IANA"),
    ],
)
def test_what_is_no_zone_is_refused_with_a_suggestion(zone: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        check_zone(zone)
