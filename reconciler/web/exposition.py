"""Families of metrics as text, in Prometheus' own format or as OpenMetrics.

prometheus-client writes them, but for those with a series for each VM: it writes a label anew for
each series, which takes more than a second for ten thousand VMs. Here a VM's labels are written
once for all families (docs/adr/0011-metrics-and-health.md).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric as ClientFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics.exposition import (
    CONTENT_TYPE_LATEST as CONTENT_TYPE_OPENMETRICS,
)
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from reconciler.status.metrics import Family, Metric, MetricKind
from reconciler.status.tally import Histogram

_EOF = b"# EOF\n"


@dataclass(frozen=True, slots=True)
class Format:
    """How metrics are written. content_type: as HTTP names it."""

    content_type: str
    openmetrics: bool


TEXT = Format(CONTENT_TYPE_PLAIN_0_0_4, openmetrics=False)
OPENMETRICS = Format(CONTENT_TYPE_OPENMETRICS, openmetrics=True)


def format_of(accept: str) -> Format:
    """Choose by what a client accepts: who says OpenMetrics gets it."""
    kinds = {each.partition(";")[0].strip() for each in accept.lower().split(",")}
    return OPENMETRICS if "application/openmetrics-text" in kinds else TEXT


class Exposition:
    """Writes families; what is known of our own process comes with them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)

    def write(self, families: Sequence[Family], format: Format) -> bytes:
        """Return the text of one scrape."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families([each for each in families if not each.metric.per_vm]))
        registry.register(self._registry)
        text = (generate_openmetrics if format.openmetrics else generate_latest)(registry)
        per_vm = _per_vm_text([each for each in families if each.metric.per_vm], format)
        if format.openmetrics:
            return text.removesuffix(_EOF) + per_vm.encode() + _EOF
        return text + per_vm.encode()


class _Families(Collector):
    """Families as prometheus-client knows them."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[ClientFamily]:
        for family in self._families:
            metric = family.metric
            written = ClientFamily(
                metric.name.removesuffix("_total"), metric.meaning, metric.kind.value, metric.unit
            )
            for values, value in family.series:
                labels = {
                    name: text for name, text in zip(metric.labels, values, strict=True) if text
                }
                if isinstance(value, Histogram):
                    _add_histogram(written, metric, labels, value)
                else:
                    written.add_sample(metric.name, labels, value)
            yield written


def _add_histogram(
    written: ClientFamily, metric: Metric, labels: dict[str, str], value: Histogram
) -> None:
    bounds = [*map(repr, value.bounds), "+Inf"]
    for bound, count in zip(bounds, accumulate(value.counts), strict=True):
        written.add_sample(f"{metric.name}_bucket", {**labels, "le": bound}, count)
    written.add_sample(f"{metric.name}_count", labels, value.count)
    written.add_sample(f"{metric.name}_sum", labels, value.total)


def _per_vm_text(families: Sequence[Family], format: Format) -> str:
    """Write gauges with many series whose labels are the same for many families."""
    parts: list[str] = []
    known: dict[tuple[tuple[str, ...], tuple[str, ...]], str] = {}
    for family in families:
        metric = family.metric
        assert metric.kind is MetricKind.GAUGE, "only gauges are written here"
        parts.append(f"# HELP {metric.name} {metric.meaning}\n# TYPE {metric.name} gauge\n")
        if format.openmetrics and metric.unit:
            parts.append(f"# UNIT {metric.name} {metric.unit}\n")
        for values, value in family.series:
            labels = known.get((metric.labels, values))
            if labels is None:
                labels = known[metric.labels, values] = _labels(metric.labels, values)
            parts.append(f"{metric.name}{labels} {value!r}\n")
    return "".join(parts)


_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def _labels(names: Iterable[str], values: Iterable[str]) -> str:
    pairs = [
        f'{name}="{value.translate(_ESCAPES)}"'
        for name, value in zip(names, values, strict=True)
        if value
    ]
    return f"{{{','.join(pairs)}}}" if pairs else ""
