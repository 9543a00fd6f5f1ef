"""Programs are built once: a build that fails leaves nothing, one that is done is kept."""

import os
import subprocess
from pathlib import Path

import pytest
from kube_programs import BUILD

FAILS = "#!/bin/sh\nexit 3\n"
BUILDS = """\
#!/bin/sh
echo built >> "$(dirname "$0")/calls"
while [ "$1" != -o ]; do shift; done
echo it > "$2/server"
"""


@pytest.fixture
def build(tmp_path: Path):
    """Run the script with a compiler of ours, and a cache of the test's own."""
    (tmp_path / "bin").mkdir()
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(tmp_path),
    }

    def build(
        *words: str, go: str = BUILDS, of: tuple[str, ...] = ("control-plane",)
    ) -> "subprocess.CompletedProcess[str]":
        compiler = tmp_path / "bin" / "go"
        compiler.write_text(go)
        compiler.chmod(0o755)
        return subprocess.run(
            [BUILD, *words, *of],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return build


def test_a_build_that_failed_is_not_taken_for_one(build, tmp_path: Path) -> None:
    place = Path(build("--where").stdout.strip())
    assert place.parent == tmp_path / "reconciler" / "kube"
    assert build(go=FAILS).returncode == 3
    assert not place.exists()
    assert build().returncode == 0
    assert {path.name for path in place.iterdir()} == {"etcd"}
    assert not list(place.parent.glob("*unfinished*"))


def test_what_is_built_is_built_once(build, tmp_path: Path) -> None:
    for _ in range(2):
        assert build().returncode == 0
    assert (tmp_path / "bin" / "calls").read_text() == "built\n"


def test_what_is_opt_in_is_built_only_when_it_is_named(build, tmp_path: Path) -> None:
    def built() -> set[str]:
        places = (tmp_path / "reconciler" / "kube").iterdir()
        return {place.name.rpartition("-")[0] for place in places if place.is_dir()}

    assert build(of=()).returncode == 0
    assert "control-plane" in built()
    assert not built() & {"containerd", "node"}
    assert build(of=("node",)).returncode == 0
    assert "node" in built()
