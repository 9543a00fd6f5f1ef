"""How many records of a job's runs stay: of those that the operator makes, the newest."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunHistory:
    """good: of runs that went well, or had nothing to do; bad: of all others that are over."""

    good: int = 3
    bad: int = 3


USUAL = RunHistory()
