"""What to do about it: `plan(desired, observed, now) -> Plan`, a pure function.

Knows desired and observed values; never bytes, networks, tasks, clocks or logs. The laws it keeps
(deterministic, convergent, safe, monotone, honest sleep, limits, guarded) are property tests.
"""
