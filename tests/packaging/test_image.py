"""What the image holds, proven without a builder: the same script installs, the same limits hold.

The program runs as the image and the pod let it: as nobody, without a capability, on a read-only
root file system, with /tmp and the state directory to write to.
"""

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
USER = "65532"

pytestmark = pytest.mark.xdist_group("image")  # what is installed is shared

AS_IN_A_POD = r"""
set -eu
place=$1 python=$2 user=$3; shift 3
mkdir "$place/python" "$place/state"
mount --bind "$python" "$place/python"
# Python may lie where only its owner enters; everybody else's way to it is made here.
way=
for step in $(dirname "$python" | tr / ' '); do
  way=$way/$step
  case $(stat -c %A "$way") in
    *x|*t) ;;
    *) mount -t tmpfs -o mode=755 hidden "$way"; break ;;
  esac
done
[ -d "$python" ] || { mkdir -p "$python"; mount --bind "$place/python" "$python"; }
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs -o "uid=$user,gid=$user,mode=700" state "$place/state"
mount -o remount,bind,ro /
if touch /written 2>/dev/null; then echo 'the root file system is writable' >&2; exit 1; fi
cd /
exec setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs \
  --bounding-set=-all --inh-caps=-all \
  env -i "PATH=$place/venv/bin:/usr/bin:/bin" "RECONCILER_STATE=$place/state" "$@"
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory with what the image holds, in `venv`. Not below /tmp, which is the pod's own."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="reconciler-image-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        work = directory / "work"
        work.mkdir()
        install = [ROOT / "image" / "install.sh", ROOT, directory / "venv", work]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        yield directory


@pytest.mark.slow(seconds=50)
def test_what_is_locked_is_all_that_it_needs(place: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    told = subprocess.run(
        [place / "venv" / "bin" / "reconciler", "version"],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        env={},
    )
    assert told.stdout.startswith(f"reconciler {version['version']} ")


@pytest.mark.slow(seconds=50)
@pytest.mark.mounts
@pytest.mark.skipif(os.geteuid() != 0, reason="takes root: it makes a mount namespace")
def test_the_main_job_runs_as_nobody_on_a_read_only_root(place: Path) -> None:
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", AS_IN_A_POD, "sh"]
    ended = subprocess.run(
        [*command, place, sys.base_prefix, USER, "reconciler", "demo"],
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "every restore point gives back the same bytes" in ended.stderr


def test_the_image_runs_as_the_user_that_the_pod_names() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    deployment = (ROOT / "manifests" / "operator" / "deployment.yaml").read_text(encoding="utf-8")
    assert f"USER {USER}:{USER}" in dockerfile
    assert set(re.findall(r"(?:runAs|fs)\w+: (\d+)", deployment)) == {USER}
    assert 'ENTRYPOINT ["reconciler"]' in dockerfile


def test_every_base_is_pinned() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (base,) = re.findall(r"^ARG BASE=(\S+)$", dockerfile, re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base)
    stages = set(re.findall(r"^FROM \S+ AS (\w+)$", dockerfile, re.MULTILINE))
    sources = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert set(sources) - stages == {"${BASE}"}
