"""The Dockerfile, built by a builder, and what it makes, run as its own user. Opt-in."""

import os
import re
from collections.abc import Iterator

import pytest
from image_builder import ROOT, Builder, builder

pytestmark = pytest.mark.xdist_group("image build")

USER = "65532"
WANTED = "RECONCILER_TESTS_IMAGE"


@pytest.fixture(scope="module")
def build() -> Iterator[Builder]:
    if WANTED not in os.environ:
        pytest.skip(f"takes root and minutes: {WANTED}=1 asks for it")
    with builder() as made:
        yield made


@pytest.fixture(scope="module")
def container(build: Builder) -> Iterator[str]:
    with build.container(build.build()) as name:
        yield name


def test_it_runs_as_the_user_that_the_pod_names(build: Builder, container: str) -> None:
    assert build.ran(container, "id", "-u").stdout.strip() == USER
    assert build.ran(container, "id", "-g").stdout.strip() == USER


def test_it_holds_the_program_in_its_version(build: Builder, container: str) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "(.*)"$', project, re.MULTILINE)
    ended = build.ran(container, "reconciler", "version")
    assert ended.stdout.startswith(f"reconciler {version} "), ended.stdout + ended.stderr


def test_what_is_started_without_a_word_is_the_program(build: Builder, container: str) -> None:
    entry = build("inspect", "--format", "{{.OCIv1.Config.Entrypoint}}", container)
    assert entry == "[reconciler]"


def test_the_main_job_runs_in_it(build: Builder, container: str) -> None:
    ended = build.ran(container, "reconciler", "demo")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "every restore point gives back the same bytes" in ended.stderr


def test_the_one_that_mounts_has_what_mounts(build: Builder) -> None:
    with build.container(build.build("mounts")) as container:
        assert build.ran(container, "id", "-u").stdout.strip() == "0"
        for helper in ("mount.nfs", "mount.cifs"):
            assert build.ran(container, "sh", "-c", f"command -v {helper}").stdout.strip()
