import errno

import pytest

from reconciler.remotes.errors import (
    Denied,
    Exists,
    Missing,
    NoSpace,
    RemoteError,
    Unavailable,
    from_os_error,
)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, Missing),
        (errno.EEXIST, Exists),
        (errno.ENOTEMPTY, Exists),
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.EACCES, Denied),
        (errno.EROFS, Denied),
        (errno.EIO, Unavailable),
        (errno.ESTALE, Unavailable),
        (errno.ETIMEDOUT, Unavailable),
        (errno.ENOTDIR, Unavailable),
        (errno.ELOOP, Unavailable),
    ],
)
def test_only_absence_is_absence(number, kind):
    error = from_os_error("cellar", "a/b", OSError(number, "words"))
    assert type(error) is kind
    assert (error.errno, str(error)) == (number, "cellar:a/b: words")


def test_errors_without_a_number_are_unknown_too():
    error = from_os_error("cellar", "", OSError("strange"))
    assert type(error) is Unavailable
    assert isinstance(error, RemoteError)
    assert "strange" in str(error)
