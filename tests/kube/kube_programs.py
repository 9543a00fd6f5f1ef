"""Where the programs of Kubernetes are that `programs/build.sh` built."""

import os
import subprocess
from functools import cache
from pathlib import Path

import pytest

BUILD = Path(__file__).resolve().parent / "programs" / "build.sh"
WANTED = "RECONCILER_TESTS_BUILD"  # set by `make test`


@cache
def programs(of: str) -> Path:
    """The directory of a set's programs: "control-plane", "helm" or an opt-in one.

    Where they were not built yet, `make test` and CI build them, or wait for whoever does;
    elsewhere tests are skipped with what builds them.
    """
    command = [BUILD, "--where", of]
    place = Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    if not place.is_dir():
        if WANTED not in os.environ:
            pytest.skip(f"{of} is not built yet: `make kube` does it, once")
        build(of)
    return place


def build(*sets: str) -> None:
    """Build sets of programs, for minutes, or wait for whoever does; at once where they are."""
    built = subprocess.run([BUILD, *sets], capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.fail(f"{' and '.join(sets)} cannot be built:\n{built.stderr}", pytrace=False)
