import errno

import pytest

from reconciler.remotes.errors import Denied
from reconciler.remotes.file import FileRemote
from reconciler.remotes.findings import examine, findings_of
from reconciler.remotes.memory import MemoryFilesystem
from reconciler.remotes.posix import PosixFilesystem
from reconciler.remotes.remote import Traits

WHOLE = Traits(reflink=True)
NANO = 10**9


class Share(PosixFilesystem):
    """A directory that cannot do this or that."""

    case = True
    coarse_ns = 1
    skew_ns = 0
    forbidden = ""
    exclusive = True

    def create(self, path):
        if any(char in path for char in self.forbidden):
            raise OSError(errno.EINVAL, "no such name")
        return super().create(path)

    def stat(self, path):
        return super().stat(path if self.case else path.replace("-A.", "-a."))

    def set_mtime(self, path, mtime_ns):
        if mtime_ns is None and self.skew_ns:
            mtime_ns = self.stat(path).mtime_ns + self.skew_ns
        elif mtime_ns is not None:
            mtime_ns -= mtime_ns % self.coarse_ns
        super().set_mtime(path, mtime_ns)

    def make_directory(self, path):
        try:
            super().make_directory(path)
        except FileExistsError:
            if self.exclusive or "lock" not in path:
                raise


@pytest.fixture
def share(tmp_path):
    return Share(str(tmp_path))


def found(share):
    findings = examine(share, lambda: "mine")
    assert share.list(".reconciler") == [], "nothing is left"
    return findings


def test_a_file_system_of_this_machine_can_all_of_it(share):
    assert found(share) == []
    assert list(findings_of(WHOLE)) == []


@pytest.mark.parametrize(
    ("lacks", "says", "grave"),
    [
        ({"case": False}, "no case", False),
        ({"coarse_ns": 2 * NANO}, "off by 1 s", False),
        ({"coarse_ns": 86400 * NANO}, "modification times", True),
        ({"skew_ns": 30 * NANO}, "30 s apart", True),
        ({"skew_ns": -30 * NANO}, "30 s apart", True),
        ({"forbidden": ":?"}, "cannot have : ? in", False),
        ({"exclusive": False}, "made twice", True),
    ],
)
def test_what_a_share_cannot_do_is_said(share, lacks, says, grave):
    for name, value in lacks.items():
        setattr(share, name, value)
    (finding,) = found(share)
    assert says in finding.what
    assert finding.grave is grave


@pytest.mark.parametrize(
    "trait", ["reflink", "replace", "exclusive", "replace_open", "directory_sync"]
)
def test_what_the_traits_lack_is_said(trait):
    lacking = Traits(**({"reflink": True} | {trait: False}))
    (finding,) = findings_of(lacking)
    assert finding.so
    assert finding.grave == (trait == "replace")


def test_a_failure_to_look_is_no_finding(share):
    def fail(path):
        raise OSError(errno.EIO, "Input/output error")

    share.create = fail
    with pytest.raises(OSError, match="Input"):
        examine(share, lambda: "mine")


async def test_a_remote_tells_its_findings_unless_nothing_may_be_written():
    remote = await FileRemote.attach("cellar", MemoryFilesystem(reflink=False), threads=None)
    assert "files cannot share extents" in [each.what for each in await remote.findings()]
    vault = await FileRemote.attach("vault", MemoryFilesystem(), threads=None, read_only=True)
    with pytest.raises(Denied):
        await vault.findings()
