"""Where the programs of Kubernetes are that `programs/build.sh` built."""

import os
import subprocess
from functools import cache
from pathlib import Path

import pytest

BUILD = Path(__file__).resolve().parent / "programs" / "build.sh"
IN_CI = "RECONCILER_TESTS_SAME_EXAMPLES"  # tests/conftest.py leaves this one of CI's marks


@cache
def programs(of: str) -> Path:
    """The directory of a set's programs: "control-plane", "helm" or "promtool".

    Where they were not built, tests fail in CI, and are skipped elsewhere with what builds them.
    """
    command = [BUILD, "--where", of]
    place = Path(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    if not place.is_dir():
        said = f"{of} is not built yet: `make kube` does it, once"
        if IN_CI in os.environ:
            pytest.fail(said)
        pytest.skip(said)
    return place
