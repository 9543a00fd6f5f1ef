"""Many small things at once, and the first error as it was raised.

What is done to a thousand blocks is done to some of them at a time: a remote that takes its time
over each is then waited for once, not a thousand times.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


async def each(items: Iterable[T], work: Callable[[T], Awaitable[None]], *, at_once: int) -> None:
    """Do the work on every item, on so many at once. The first error ends it, and comes out."""
    remaining = iter(items)

    async def worker() -> None:
        for item in remaining:
            await work(item)

    with first_error():
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(worker())


async def together(works: Iterable[Coroutine[None, None, T]]) -> list[T]:
    """Do all at once; return what they return, in order. The first error comes out."""
    with first_error():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    return [task.result() for task in tasks]


@contextmanager
def first_error() -> Iterator[None]:
    """Let the first error of a group out, not the group."""
    try:
        yield
    except BaseExceptionGroup as failures:
        first = failures.exceptions[0]
        raise first from first.__cause__
