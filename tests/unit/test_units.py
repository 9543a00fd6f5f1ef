from datetime import timedelta

import pytest

from reconciler.units import parse_size, parse_span, render_size, render_span


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("512", 512),
        ("512B", 512),
        ("64MiB", 64 * 1024**2),
        ("64Mi", 64 * 1024**2),
        ("64MB", 64 * 1000**2),
        ("1.5GiB", 3 * 512 * 1024**2),
        (" 2 TiB ", 2 * 1024**4),
        ("9007199254740993", 9007199254740993),  # more than a float holds exactly
        ("0.5", 0),
    ],
)
def test_sizes_are_read(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1", "1,5GiB", "64mib", "1 2", "1e9", "٣", "9" * 400, "1.", ".5", "1XiB"]
)
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="64MiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("1h30m", timedelta(minutes=90)),
        ("30d", timedelta(days=30)),
        ("2w", timedelta(days=14)),
        ("0s", timedelta()),
    ],
)
def test_spans_are_read(text: str, span: timedelta) -> None:
    assert parse_span(text) == span


@pytest.mark.parametrize(
    "text", ["", "5", "h", "1h 30m", "1.5h", "-1h", "1y", "٣d", "9" * 400 + "d"]
)
def test_what_is_no_span_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="1h30m"):
        parse_span(text)


def test_a_span_longer_than_time_is_refused() -> None:
    with pytest.raises(ValueError, match="calendar"):
        parse_span("999999999999w")


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (102_380, "100 KiB"),
        (4_400_000_000, "4.1 GiB"),
        (5 * 1024**6, "5120 PiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_sizes_are_rendered_with_three_digits(size_bytes: int, text: str) -> None:
    assert render_size(size_bytes) == text


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(), "0s"),
        (timedelta(seconds=45), "45s"),
        (timedelta(hours=3, minutes=12, seconds=5), "3h 12m"),
        (timedelta(days=2), "2d"),
        (timedelta(seconds=-90), "-1m 30s"),
        (timedelta(milliseconds=400), "0s"),
    ],
)
def test_spans_are_rendered_with_two_units(span: timedelta, text: str) -> None:
    assert render_span(span) == text
