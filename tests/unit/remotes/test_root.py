"""A root whose file system changes: modelled by a link that is turned to another one."""

import errno
import os
from pathlib import Path

import pytest

from reconciler.remotes.errors import WrongRemote
from reconciler.remotes.root import Root

ELSEWHERE = Path("/dev/shm")  # another file system than that of temporary directories


@pytest.fixture
def turned(tmp_path):
    """A link to a directory, and what turns it to another file system."""
    if os.stat(ELSEWHERE).st_dev == os.stat(tmp_path).st_dev:
        pytest.fail(f"{ELSEWHERE} should be another file system than {tmp_path}")
    here, link = tmp_path / "here", tmp_path / "link"
    here.mkdir()
    link.symlink_to(here)

    def turn(target=ELSEWHERE):
        link.unlink()
        link.symlink_to(target)

    return str(link), turn


def test_another_file_system_is_never_taken_for_the_first(turned):
    path, turn = turned
    root = Root(path)
    os.close(root.open())
    turn()
    with pytest.raises(OSError, match="another file system") as raised:
        root.open()
    assert raised.value.errno == errno.ESTALE


def test_what_is_proven_is_used_from_then_on(turned):
    path, turn = turned
    proofs = []
    root = Root(path, lambda: proofs.append(1))
    os.close(root.open())
    assert proofs == []
    turn()
    os.close(root.open())
    descriptor = root.open()
    assert os.path.realpath(f"/proc/self/fd/{descriptor}") == str(ELSEWHERE)
    os.close(descriptor)
    assert proofs == [1]


def test_what_cannot_be_proven_is_not(turned):
    path, turn = turned

    def prove():
        raise WrongRemote("cellar", "", "another share")

    root = Root(path, prove)
    turn()
    for _ in range(2):
        with pytest.raises(WrongRemote):
            root.open()


def test_a_stale_root_is_proven_and_opened_again(turned, monkeypatch):
    path, _ = turned
    real, stale, proofs = os.open, [True], []

    def opened(name, flags, *more, **options):
        if name == path and stale:
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(name, flags, *more, **options)

    root = Root(path, lambda: (proofs.append(1), stale.clear()))
    monkeypatch.setattr(os, "open", opened)
    os.close(root.open())
    assert proofs == [1]


def test_other_errors_are_no_reason_to_prove_anything(turned, monkeypatch):
    path, turn = turned
    root = Root(path, lambda: pytest.fail("proven"))
    turn("/nowhere/at/all")
    with pytest.raises(FileNotFoundError):
        root.open()
