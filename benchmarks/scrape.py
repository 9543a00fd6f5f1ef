"""What one scrape of /metrics costs for 10,000 VMs with 300,000 restore points, nothing remembered.

The report is as the loop leaves it; chains, conditions and series are worked out anew.
"""

import gc
import time
from collections.abc import Callable, Iterator

from benchmarks.plan_bench import MOMENTS
from benchmarks.report import Figure
from reconciler.plan.planner import plan
from reconciler.status.report import Report
from reconciler.status.series import families
from reconciler.status.tally import Tally
from reconciler.web.exposition import OPENMETRICS, Exposition


def run(directory: str, note: Callable[[str], None]) -> Iterator[Figure]:
    for moment in ("idle", "export"):
        desired, observed, now = MOMENTS[moment](10_000, 30)
        report = Report(desired, observed, plan(desired, observed, now), now)
        assert report.sentence, "the loop says it at each tick"
        gc.collect()
        began = time.process_time()
        found = families(report, Tally(), (), now, build=("1", "3"))
        text = Exposition().write(found, OPENMETRICS)
        took_s = time.process_time() - began
        yield Figure("scrape", f"10,000 VMs: {moment}", took_s, "s", at_most=1.0)
        yield Figure("scrape", f"10,000 VMs: {moment}, written", len(text) / 1e6, "MB")
