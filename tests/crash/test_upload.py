"""Objects that come in pieces, names that must be free, and second names for the same bytes."""

import contextlib

import pytest

from reconciler.remotes.errors import Exists

OLD, NEW = b"old" * 300, b"new" * 400
PARTS = [NEW[:1], NEW[1:600], NEW[600:]]


async def scenario(remote):
    await remote.put("a/f", OLD)
    await remote.put("b/source", NEW)


async def upload(remote):
    async with remote.upload("a/f") as upload:
        for part in PARTS:
            await upload.write(part)


async def upload_in_new_directories(remote):
    async with remote.upload("c/d/f") as upload:
        for part in PARTS:
            await upload.write(part)


async def put_new(remote):
    with contextlib.suppress(Exists):  # of the try that crashed
        await remote.put_new("c/d/f", NEW)


async def put_new_over(remote):
    with pytest.raises(Exists):
        await remote.put_new("a/f", NEW)


async def copy(remote):
    await remote.copy("b/source", "a/f")


async def copy_in_new_directories(remote):
    await remote.copy("b/source", "c/d/f")


def replaced(filesystem, stage):
    content = filesystem.content("a/f").whole()
    assert content == NEW if stage != "before" else content in (OLD, NEW)


def made(filesystem, stage):
    there = "c/d/f" in filesystem.paths()
    assert there or stage == "before"
    assert not there or filesystem.content("c/d/f").whole() == NEW


def hidden(filesystem):
    """What is left beside is hidden and says what it is; the rest is as it was."""
    for path in filesystem.paths():
        name = path.rpartition("/")[2]
        known = path in ("a/f", "b/source", "c/d/f")
        assert known or (name.startswith(".") and name.endswith(".partial")), path
    assert filesystem.content("b/source").whole() == NEW


async def check_replaced(remote, filesystem, stage):
    replaced(filesystem, stage)
    hidden(filesystem)


async def check_made(remote, filesystem, stage):
    made(filesystem, stage)
    hidden(filesystem)


async def check_untouched(remote, filesystem, stage):
    assert filesystem.content("a/f").whole() == OLD
    hidden(filesystem)


LINKS = {}
REFLINKS = {"hard_links": False, "reflink": True}
COPIES = {"hard_links": False}
CASES = [
    (upload, check_replaced, LINKS, 30),
    (upload_in_new_directories, check_made, LINKS, 60),
    (put_new, check_made, LINKS, 60),
    (put_new, check_made, COPIES, 60),
    (put_new_over, check_untouched, LINKS, 10),
    (copy, check_replaced, LINKS, 4),
    (copy, check_replaced, REFLINKS, 10),
    (copy, check_replaced, COPIES, 14),
    (copy_in_new_directories, check_made, LINKS, 12),
    (copy_in_new_directories, check_made, COPIES, 30),
]


@pytest.mark.parametrize(("operation", "check", "kind", "at_least"), CASES)
async def test_what_is_seen_is_whole_after_every_crash(
    enumerate_crashes, operation, check, kind, at_least
):
    await enumerate_crashes(scenario, operation, check, at_least=at_least, **kind)


@pytest.mark.parametrize(("operation", "check", "kind", "at_least"), CASES)
async def test_what_is_seen_is_whole_after_every_error(
    enumerate_errors, operation, check, kind, at_least
):
    await enumerate_errors(scenario, operation, check, at_least=at_least, **kind)
