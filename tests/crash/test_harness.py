"""The harness finds what it is there to find: each classic mistake is planted, and is caught."""

import pytest

OLD, NEW = b"old" * 300, b"new" * 400
KEY, TEMPORARY = "a/f.json", "a/.f.partial"


async def scenario(remote):
    await remote.put(KEY, OLD)


async def check(remote, filesystem, stage):
    content = filesystem.content(KEY).whole()
    assert content == NEW if stage != "before" else content in (OLD, NEW)


async def write_temporary(remote, *, sync=True):
    await remote.delete(TEMPORARY)
    async with remote.create(TEMPORARY) as file:
        await file.write([NEW], 0)
        if sync:
            await file.sync()


async def right(remote):
    await write_temporary(remote)
    await remote.publish(TEMPORARY, KEY)


async def without_sync(remote):
    await write_temporary(remote, sync=False)
    await remote.publish(TEMPORARY, KEY)


async def without_directory_sync(remote):
    await write_temporary(remote)
    remote._filesystem.rename(TEMPORARY, KEY)


async def unlink_then_rename(remote):
    await write_temporary(remote)
    await remote.delete(KEY)
    await remote.publish(TEMPORARY, KEY)


async def in_place(remote):
    async with remote.open(KEY, write=True) as file:
        await file.truncate(0)
        await file.write([NEW], 0)
        await file.sync()


async def deletes_what_it_cannot_read(remote):
    try:
        readable = await remote.get(KEY, 10_000)
    except Exception:
        await remote.delete(KEY)
        return
    assert readable
    await right(remote)


async def syncs_again_after_an_error(remote):
    """fsync fails once, then says that all is well; what was to be written is forgotten."""
    await remote.delete(TEMPORARY)
    async with remote.create(TEMPORARY) as file:
        await file.write([NEW], 0)
        try:
            await file.sync()
        except Exception:
            await file.sync()
    await remote.publish(TEMPORARY, KEY)


async def test_the_right_way_passes(enumerate_crashes, enumerate_errors):
    await enumerate_crashes(scenario, right, check, at_least=10)
    await enumerate_errors(scenario, right, check, at_least=100)


@pytest.mark.parametrize(
    "mistake", [without_sync, without_directory_sync, unlink_then_rename, in_place]
)
async def test_mistakes_are_caught_by_crashes(enumerate_crashes, mistake):
    with pytest.raises((AssertionError, FileNotFoundError)):
        await enumerate_crashes(scenario, mistake, check, at_least=1)


@pytest.mark.parametrize("mistake", [deletes_what_it_cannot_read, syncs_again_after_an_error])
async def test_mistakes_are_caught_by_errors(enumerate_errors, mistake):
    with pytest.raises(AssertionError, match="EIO@"):
        await enumerate_errors(scenario, mistake, check, at_least=1)


async def test_an_empty_examination_is_no_success(enumerate_crashes):
    async def nothing(remote):
        pass

    async def content(remote, filesystem, stage):
        pass

    with pytest.raises(AssertionError, match="is this test empty"):
        await enumerate_crashes(scenario, nothing, content, at_least=10)
