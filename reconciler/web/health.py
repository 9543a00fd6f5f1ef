"""Whether the program works (/healthz) and whether it knows enough to (/readyz).

*Alive*: the event loop answers at all, and no tick of the reconcile loop takes far longer than the
ticks before it. A loop that waits is alive: with nothing to see there is nothing to do. Restart
what is not alive.

*Ready*: manifests were read, and every pool and remote that they name has been looked at once,
seen or not: an unreachable pool is the report's affair, and no reason to take the program away.
Once ready it stays ready, whatever is added later. Who only stands by is ready to.
"""

import json
from dataclasses import dataclass

from reconciler.loop import Pulse
from reconciler.status.report import Report

TICK_S = 120.0
"""A tick may take as long as this, or `TICKS` times the longest so far."""
TICKS = 10


@dataclass(frozen=True, slots=True)
class Check:
    """why: what is the matter, or is worth saying."""

    name: str
    ok: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def as_json(self) -> bytes:
        """Say it, and what is missing, to a program or a person."""
        checks = [{"name": each.name, "ok": each.ok, "why": each.why} for each in self.checks]
        return json.dumps({"ok": self.ok, "checks": checks}, indent=2).encode() + b"\n"


STANDING_BY = Health((Check("leader", True, "another process leads; this one stands by"),))
_NO_LOOP = Health((Check("loop", True, "none runs in this process"),))


def alive(pulse: Pulse | None) -> Health:
    """Judge the loop. pulse: None while none runs."""
    if pulse is None:
        return _NO_LOOP
    limit_s = max(TICK_S, TICKS * pulse.longest_s)
    if pulse.busy_s <= limit_s:
        return Health((Check("loop", True),))
    why = f"a tick has been at work for {pulse.busy_s:.0f} s; {limit_s:.0f} s is the most"
    return Health((Check("loop", False, why),))


def ready(report: Report | None) -> Health:
    """Judge what is known. report: the newest, None before the first."""
    if report is None:
        return Health((Check("manifests", False, "not read yet"),))
    desired, observed = report.desired, report.observed
    return Health(
        (
            Check("manifests", True),
            *(_looked_at("pool", name, name in observed.pools) for name in sorted(desired.pools)),
            *(
                _looked_at("remote", name, name in observed.remotes)
                for name in sorted(desired.remotes)
            ),
        )
    )


def _looked_at(kind: str, name: str, done: bool) -> Check:
    return Check(f"{kind} {name}", done, "" if done else "not looked at yet")
