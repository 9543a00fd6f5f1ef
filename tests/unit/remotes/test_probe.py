import errno

import pytest

from reconciler.remotes.errors import Denied, Unavailable
from reconciler.remotes.faults import Fault
from reconciler.remotes.file import FileRemote
from reconciler.remotes.memory import MemoryFilesystem
from reconciler.remotes.probe import probe

HOUR_S = 3600


def names():
    return "mine"


def calls_of(filesystem):
    probe(filesystem, names)
    return [call.kind for call in filesystem.calls]


@pytest.mark.parametrize("reflink", [True, False])
def test_traits_are_found_out_and_nothing_stays(reflink):
    filesystem = MemoryFilesystem(reflink=reflink)
    traits = probe(filesystem, names)
    assert (traits.reflink, traits.replace, traits.patch, traits.directory_sync) == (
        reflink,
        True,
        True,
        True,
    )
    assert filesystem.paths() == []


def test_a_clone_that_is_refused_is_a_trait_and_one_that_fails_an_error():
    at = calls_of(MemoryFilesystem(reflink=True)).index("clone_from")
    for number in (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY, errno.EXDEV):
        filesystem = MemoryFilesystem(reflink=True, fault=Fault(at, number))
        assert probe(filesystem, names).reflink is False
    with pytest.raises(OSError, match="Input/output"):
        probe(MemoryFilesystem(reflink=True, fault=Fault(at, errno.EIO)), names)


def test_directories_that_cannot_be_synced_are_a_trait():
    at = calls_of(MemoryFilesystem()).index("sync_directory")
    filesystem = MemoryFilesystem(fault=Fault(at, errno.EINVAL))
    assert probe(filesystem, names).directory_sync is False


def test_a_name_that_cannot_be_replaced_is_a_trait():
    at = calls_of(MemoryFilesystem()).index("rename")
    filesystem = MemoryFilesystem(fault=Fault(at, errno.EEXIST))
    # As SMB servers say it; the model never would by itself.
    filesystem.fault = None

    def refuse(source, target):
        raise FileExistsError(errno.EEXIST, "exists")

    filesystem.rename = refuse
    assert probe(filesystem, names).replace is False
    assert filesystem.paths() == []


def test_scratch_files_of_probes_that_were_killed_go_after_an_hour():
    filesystem = MemoryFilesystem()
    filesystem.make_directory(".reconciler")
    for name in ("probe-old-1.partial", "identity.json", "probe-notes"):
        filesystem.create(f".reconciler/{name}").close()
    filesystem.pass_time(HOUR_S - 60)
    probe(filesystem, names)
    assert ".reconciler/probe-old-1.partial" in filesystem.paths()
    filesystem.pass_time(120)
    probe(filesystem, names)
    assert filesystem.paths() == [".reconciler/identity.json", ".reconciler/probe-notes"]


async def test_a_remote_that_cannot_be_written_says_so():
    filesystem = MemoryFilesystem(fault=Fault(0, errno.EROFS, lasting=True))
    with pytest.raises(Denied):
        await FileRemote.attach("cellar", filesystem, threads=None)
    filesystem = MemoryFilesystem(fault=Fault(0, errno.EIO, lasting=True))
    with pytest.raises(Unavailable):
        await FileRemote.attach("cellar", filesystem, threads=1)
