"""docs/metrics.md is made from the metrics themselves: it names all of them and no other."""

from collections.abc import Callable
from pathlib import Path

from reconciler.status.metrics import METRICS, Metric

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"

HEAD = """\
# Metrics

`reconciler run --listen 9190` serves `/metrics` on loopback (`--listen :9190` on all addresses:
there is no password, and VM names are in it). Prometheus' text format and OpenMetrics, gzip if
asked for. What was written less than five seconds ago is served again.

- Seconds and bytes throughout; instants are Unix time. Counters count from the start of the
  process.
- Of what was not seen nothing is said: while a remote cannot be read, the series of its points are
  missing, `reconciler_remote_up` is 0, and nothing reads as if the points were gone.
- `remote` names a remote. An SR has `sr="<pool>/<uuid>"` in its place, and the snapshots of a job
  in mode Snapshot have neither.
- A job is `backup_job`, since Prometheus has a `job` of its own; outside the namespace `default` it
  is `<namespace>/<name>`.
- With more than 2,000 VMs only `reconciler_vm_info` has `vm_name`; join it as in
  `reconciler_vm_rpo_met * on (backup_job, vm_uuid) group_left (vm_name) reconciler_vm_info`. There
  are as many series as VMs × jobs × destinations; no label names a run, an action or a point.
- How full a remote will be, and when, is a query over what was: Prometheus keeps the history that
  this program does not. `predict_linear(reconciler_remote_free_bytes[7d], 7 * 86400) < 0`.
- A run that failed and was made up for later counts twice, once for each end.
- `process_…` metrics (memory, CPU, file descriptors) come with them.

`/healthz` says whether the program works (restart it if not), `/readyz` whether manifests were
read and every pool and remote was looked at once, seen or not; both answer 200 or 503 and say in
JSON what is the matter.
"""


def row(metric: Metric) -> str:
    labels = ", ".join(metric.labels)
    return f"| `{metric.name}` | {metric.kind.value} | {labels} | {metric.meaning} |"


def test_the_page_is_fresh(golden: Callable[[Path, str], None]) -> None:
    table = "\n".join(map(row, METRICS))
    heading = "| metric | type | labels | meaning |\n|---|---|---|---|"
    golden(PAGE, f"{HEAD}\n{heading}\n{table}\n")
