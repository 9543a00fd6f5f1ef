"""A small lab without a listener, and a way to call it."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.lab.lab import Lab
from reconciler.lab.settings import Settings

MIB = 1 << 20


def quick() -> Settings:
    """Nothing waits, and the collector works only when a test says so."""
    return Settings(
        login_failure_delay_s=0.0,
        event_batch_s=0.0,
        coalesce=False,
        guest_boot_s=0.0,
        retry_s=0.01,
    )


@pytest.fixture
def settings() -> Settings:
    return quick()


@pytest.fixture
def lab(tmp_path: Path, settings: Settings) -> Iterator[Lab]:
    with Lab.open(str(tmp_path / "lab"), settings=settings) as opened:
        yield opened


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """16 MiB, with data from 3 to 5 MiB and in the last sector."""
    content = bytearray(16 * MIB)
    content[3 * MIB : 5 * MIB] = random.Random(7).randbytes(2 * MIB)
    content[-512:] = b"e" * 512
    path = tmp_path / "image.raw"
    path.write_bytes(content)
    return path


@pytest.fixture
def web(lab: Lab, image: Path) -> str:
    """The reference of a halted machine called web with one disk."""
    machine = lab.import_vm("web", [str(image)], tags=["backup"])
    return str(lab.call("VM.get_by_uuid", machine.uuid))
