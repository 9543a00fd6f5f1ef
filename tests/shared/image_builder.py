"""Builds the Dockerfile with buildah, as root and without any registry.

The base is made of Debian's packages, with the Python that they have. What was built is kept in a
storage of its own, so that the next time only what has changed is built again.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BUILD_S = 1800
_SUITE, _PACKAGES = "bookworm", "python3,python3-venv,ca-certificates"
_BASE = f"localhost/reconciler-base:{_SUITE}"
_TRUSTED = Path("etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Builder:
    """store: what buildah keeps. run: what it keeps until the machine starts again."""

    store: Path
    run: Path

    def __call__(self, *words: "str | Path") -> str:
        """Run buildah and return what it prints. Raises AssertionError if it fails."""
        ended = self.ended(*words)
        assert ended.returncode == 0, ended.stdout[-8000:] + ended.stderr[-8000:]
        return ended.stdout.strip()

    def ended(self, *words: "str | Path") -> "subprocess.CompletedProcess[str]":
        storage = ("--root", self.store, "--runroot", self.run)
        return subprocess.run(
            ["buildah", *storage, *words],
            capture_output=True,
            text=True,
            timeout=_BUILD_S,
            check=False,
        )

    def build(self, target: str = "program") -> str:
        """Build a stage of the Dockerfile; return the image's name."""
        image = f"localhost/reconciler-{target}:test"
        self(
            *("bud", "--isolation", "chroot", "--network", "host", "--layers"),
            *("--build-arg", f"BASE={self._base()}", "--target", target, "--tag", image),
            *("--file", ROOT / "Dockerfile", ROOT),
        )
        return image

    @contextmanager
    def container(self, image: str) -> Iterator[str]:
        """The name of a container of an image, to run commands in as the image's own user."""
        name = self("from", image)
        try:
            yield name
        finally:
            self("rm", name)

    def ran(self, container: str, *words: str) -> "subprocess.CompletedProcess[str]":
        options = ("--isolation", "chroot", "--network", "host", "--cap-drop", "all")
        return self.ended("run", *options, container, "--", *words)

    def save(self, image: str, archive: Path) -> None:
        """Write an image to a file that nodes take images from."""
        self("push", "--quiet", image, f"docker-archive:{archive}:{image}")

    def _base(self) -> str:
        if not self("images", "--noheading", "--filter", f"reference={_BASE}"):
            container = self("from", "scratch")
            try:
                _fill(Path(self("mount", container)))
                self("commit", container, _BASE)
            finally:
                self("rm", container)
        return _BASE


def _fill(root: Path) -> None:
    """Put a small Debian there, which trusts whom this machine trusts."""
    ended = subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, root],
        capture_output=True,
        text=True,
        timeout=_BUILD_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
    shutil.copyfile(Path("/") / _TRUSTED, root / _TRUSTED)
    for each in (root / "var/cache/apt/archives").glob("*.deb"):
        each.unlink()


@contextmanager
def builder() -> Iterator[Builder]:
    """Fails where it cannot be: for tests that somebody asked for."""
    missing = [one for one in ("buildah", "debootstrap") if not shutil.which(one)]
    assert not missing, f"not installed: {', '.join(missing)}"
    assert os.geteuid() == 0, "a base is made by root"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    with tempfile.TemporaryDirectory(prefix="reconciler-buildah-") as run:
        yield Builder(cache / "reconciler" / "image", Path(run))
