"""A plan for 10,000 VMs with 300,000 restore points, at five moments of a night."""

from collections.abc import Callable, Iterator

from benchmarks.plan_bench import measure
from benchmarks.report import Figure


def run(directory: str, note: Callable[[str], None]) -> Iterator[Figure]:
    for moment, found in measure().items():
        yield Figure(
            "plan", f"10,000 VMs, 300,000 points: {moment}", found["plan_s"], "s", at_most=1.0
        )
