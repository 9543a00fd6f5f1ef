from datetime import UTC, datetime, timedelta

import pytest

from reconciler.cli.exits import Usage
from reconciler.cli.options import instant_option, span_option


def test_spans() -> None:
    assert span_option("--timeout", "1h30m") == timedelta(minutes=90)
    for text in ("", "soon", "0s", "-1s", "60"):
        with pytest.raises(Usage, match="--timeout: ") as caught:
            span_option("--timeout", text)
        assert caught.value.code == 64


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-01-05", datetime(2026, 1, 5, tzinfo=UTC)),
        ("2026-01-05T02:00Z", datetime(2026, 1, 5, 2, tzinfo=UTC)),
        ("2026-01-05T02:00+01:00", datetime(2026, 1, 5, 1, tzinfo=UTC)),
    ],
)
def test_instants(text: str, instant: datetime) -> None:
    assert instant_option("--as-of", text) == instant


def test_no_instant_and_no_sense() -> None:
    assert instant_option("--as-of", None) is None
    with pytest.raises(Usage, match="is not a time"):
        instant_option("--as-of", "yesterday")
