from datetime import UTC, datetime, timedelta, timezone

import pytest

from reconciler.ids import STAMP, UUID, Stamp, instant_of, stamp_of


def test_a_stamp_is_utc_to_the_second() -> None:
    paris = timezone(timedelta(hours=1))
    instant = datetime(2026, 1, 1, 3, 0, 7, 999_999, tzinfo=paris)
    assert stamp_of(instant) == "20260101T020007Z"


@pytest.mark.parametrize("year", [1, 999, 1970, 2026, 2038, 9999])
def test_stamps_are_read_back_in_every_year(year: int) -> None:
    instant = datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
    stamp = stamp_of(instant)
    assert STAMP.fullmatch(stamp)
    assert instant_of(stamp) == instant


def test_stamps_sort_as_their_instants_do() -> None:
    instants = [datetime(999 + year, 1, 1, tzinfo=UTC) for year in (0, 1, 1000)]
    assert sorted(map(stamp_of, instants)) == [stamp_of(instant) for instant in instants]


@pytest.mark.parametrize(
    "text",
    ["", "202611T020000Z", "20260101T020000", "20261301T020000Z", "٢0260101T020000Z", "x"],
)
def test_nothing_else_is_a_stamp(text: str) -> None:
    with pytest.raises(ValueError):
        instant_of(Stamp(text))


def test_a_naive_instant_has_no_stamp() -> None:
    with pytest.raises(AssertionError):
        stamp_of(datetime(2026, 1, 1))


def test_uuids_are_lower_case_and_whole() -> None:
    assert UUID.fullmatch("6b1d6a0e-9f0c-4c55-8a54-9d3cdd1f4f31")
    for text in ("6B1D6A0E-9F0C-4C55-8A54-9D3CDD1F4F31", "OpaqueRef:NULL", "../../etc", ""):
        assert not UUID.fullmatch(text)
