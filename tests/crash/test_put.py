"""The smallest operations first: one object put, one file published, one object deleted."""

import pytest

OLD, NEW = b"old" * 300, b"new" * 400


async def scenario(remote):
    await remote.put("a/b/f.json", OLD)


async def put(remote):
    await remote.put("a/b/f.json", NEW)


async def put_in_new_directories(remote):
    await remote.put("c/d/e/f.json", NEW)


async def check_replaced(remote, filesystem, stage):
    content = filesystem.content("a/b/f.json").whole()
    assert content == NEW if stage != "before" else content in (OLD, NEW)


async def check_made(remote, filesystem, stage):
    assert filesystem.content("a/b/f.json").whole() == OLD
    made = [path for path in filesystem.paths() if path.endswith("d/e/f.json")]
    assert made or stage == "before"
    for path in made:
        assert filesystem.content(path).whole() == NEW


CASES = [(put, check_replaced, 14), (put_in_new_directories, check_made, 60)]


@pytest.mark.parametrize(("operation", "check", "at_least"), CASES)
async def test_put_survives_every_crash(enumerate_crashes, operation, check, at_least):
    await enumerate_crashes(scenario, operation, check, at_least=at_least)


@pytest.mark.parametrize(("operation", "check", "at_least"), CASES)
async def test_put_survives_every_error(enumerate_errors, operation, check, at_least):
    await enumerate_errors(scenario, operation, check, at_least=at_least)
