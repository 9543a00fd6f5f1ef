"""Files that are not whole yet: made under a name of their own, left behind by nobody for long.

The caller holds the lock of the directory, so a file that is already there under such a name was
left by a try that is over.
"""

import contextlib
from collections.abc import AsyncIterator

from reconciler.remotes.errors import Exists, RemoteError
from reconciler.remotes.remote import Remote, RemoteFile


@contextlib.asynccontextmanager
async def created_anew(remote: Remote, key: str) -> AsyncIterator[RemoteFile]:
    """Create a file, in place of one that an earlier try left. The file stays on leaving."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            file = await stack.enter_async_context(remote.create(key))
        except Exists:
            await remote.delete(key)
            file = await stack.enter_async_context(remote.create(key))
        yield file


@contextlib.asynccontextmanager
async def removed_on_error(remote: Remote, key: str) -> AsyncIterator[None]:
    """Remove a file when the body fails, if that is still possible (space may be what was short).

    After a cancellation it stays: whoever cancels does not want to wait.
    """
    try:
        yield
    except Exception:
        with contextlib.suppress(RemoteError):
            await remote.delete(key)
        raise
