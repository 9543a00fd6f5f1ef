"""Runs the tests, and once more, alone, those that failed. `make test` calls it.

The machines that tests run on are shared, and stand still for seconds now and then. Tests wait for
conditions and assert no times; where one fails all the same, it is run again when nothing else
runs, and what then passes is named at the very end as flaky: to be mended, not to be got used to.
Nothing passes by this that does not pass: each test that failed has to have run to its end and
passed; skipped is not passed, and neither is what was not found again. More than a few that fail
at once are no accident, and are not run again.

arguments: of pytest, for the first run.
"""

import re
import sys

import pytest

AGAIN_MAX = 10
_GROUP = re.compile(r"@[\w-]+$")  # where pytest-xdist says which tests it keeps together


class Outcomes:
    """A plugin that keeps, of each test, whether it failed anywhere and whether it passed."""

    def __init__(self) -> None:
        self.failed: set[str] = set()
        self.passed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = _GROUP.sub("", report.nodeid)
        if report.failed:
            self.failed.add(name)
        elif report.when == "call" and report.passed:
            self.passed.add(name)


def run(arguments: list[str]) -> tuple[int, Outcomes]:
    outcomes = Outcomes()
    # A copy: pytest writes what the project's settings add into the list that it is given.
    return int(pytest.main(list(arguments), plugins=[outcomes])), outcomes


def main(arguments: list[str]) -> int:
    status, first = run(arguments)
    if status != pytest.ExitCode.TESTS_FAILED or not first.failed:
        return status
    names = sorted(first.failed)
    if len(names) > AGAIN_MAX:
        print(f"{len(names)} tests failed: too many for an accident, so none is run again.")
        return status
    print(f"\n{len(names)} failed. Once more, alone:", *names, "", sep="\n  ", flush=True)
    status, second = run(names)
    flaky = sorted(first.failed & (second.passed - second.failed))
    for name in flaky:
        print(f"FLAKY: {name} failed among others and passed alone; see above why it failed")
    missing = sorted(first.failed - set(flaky))
    if status == pytest.ExitCode.OK and missing:
        print("failed at first, and has not passed since:", ", ".join(missing))
        status = int(pytest.ExitCode.TESTS_FAILED)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
