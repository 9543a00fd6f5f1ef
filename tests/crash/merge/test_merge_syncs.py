"""The proof proves: with a sync left out that the protocols stand on, states are found wrong."""

import pytest

from reconciler.remotes.memory import MemoryFilesystem, MemoryHandle

JOURNAL_NAME = ("sync_directory", 4)  # the journal's name, before the target is touched
NEW_NAME = ("sync_directory", 4)  # the merged file's name, before the target is removed


@pytest.mark.parametrize(
    ("reflink", "copy", "left_out"),
    [
        pytest.param(False, False, JOURNAL_NAME, id="in place, journal"),
        pytest.param(False, False, ("sync", 3), id="in place, first footer"),
        pytest.param(True, False, ("sync", 0), id="clone, file"),
        pytest.param(True, False, NEW_NAME, id="clone, name"),
        pytest.param(False, True, ("sync", 0), id="copy, file"),
    ],
)
async def test_a_sync_left_out_is_found(
    chain, enumerate_crashes, monkeypatch, reflink, copy, left_out
):
    world = chain(copy=copy)
    kind, index = left_out
    calls = []
    owner = MemoryHandle if kind == "sync" else MemoryFilesystem
    original = getattr(owner, kind)

    def sometimes(*args):
        calls.append(args)
        if len(calls) - 1 != index:
            original(*args)

    async def operation(remote):
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(owner, kind, sometimes)
            await world.operation(remote)

    with pytest.raises(Exception, match=r"wrong|ChainBroken|Missing|footer"):
        await enumerate_crashes(
            world.scenario,
            operation,
            world.check,
            recovery=world.operation,
            reflink=reflink,
            depth=1,
            subsets_max=128,
            at_least=1,
        )
    assert len(calls) > index
