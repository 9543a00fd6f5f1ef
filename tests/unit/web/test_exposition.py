"""Metrics as text: read back by Prometheus' own parsers, both formats, odd names and all."""

import shutil
import subprocess

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from reconciler.status.metrics import METRICS, Family, MetricKind
from reconciler.status.tally import empty
from reconciler.web.exposition import OPENMETRICS, TEXT, Exposition, Format, format_of

ODD = 'we"b\\\n{ü}'


def values_of(labels: tuple[str, ...]) -> tuple[str, ...]:
    return tuple("" if name == "sr" else f"{ODD} {name}" for name in labels)


HISTOGRAM = empty((0.5, 2.0)).with_value(0.1).with_value(1.0).with_value(99.0)
FAMILIES = [
    Family(
        metric,
        [(values_of(metric.labels), HISTOGRAM if metric.kind is MetricKind.HISTOGRAM else 1.5e9)],
    )
    for metric in METRICS
]


@pytest.mark.parametrize("format_", [TEXT, OPENMETRICS], ids=["text", "openmetrics"])
def test_every_family_is_read_back_as_it_was(format_: Format) -> None:
    text = Exposition().write(FAMILIES, format_).decode()
    read = openmetrics.text_string_to_metric_families if format_.openmetrics else None
    found = {each.name: each for each in (read or text_string_to_metric_families)(text)}
    for metric in METRICS:
        family = found[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind.value, metric.meaning)
        if format_.openmetrics:
            assert family.unit == metric.unit
        labels = {
            name: text
            for name, text in zip(metric.labels, values_of(metric.labels), strict=True)
            if text
        }
        if metric.kind is MetricKind.HISTOGRAM:
            samples = {
                (sample.name.removeprefix(metric.name), sample.labels.get("le")): sample.value
                for sample in family.samples
            }
            assert samples == {
                ("_bucket", "0.5"): 1,
                ("_bucket", "2.0"): 2,
                ("_bucket", "+Inf"): 3,
                ("_count", None): 3,
                ("_sum", None): 100.1,
            }
        else:
            ((name, mine, value, *_),) = family.samples
            assert (name, mine, value) == (metric.name, labels, 1.5e9)


def test_the_process_tells_of_itself() -> None:
    text = Exposition().write(FAMILIES, TEXT).decode()
    found = {each.name for each in text_string_to_metric_families(text)}
    assert {"process_resident_memory_bytes", "process_cpu_seconds"} <= found


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain;version=0.0.4;q=0.5", TEXT),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.1", OPENMETRICS),
    ],
)
def test_who_says_openmetrics_gets_it(accept: str, expected: Format) -> None:
    assert format_of(accept) is expected


def test_prometheus_own_tool_finds_nothing_wrong() -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is not here; tests/tools.sh installs it"
    text = Exposition().write(FAMILIES, TEXT)
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, check=False
    )
    assert (checked.stdout + checked.stderr).decode() == ""
    assert checked.returncode == 0
