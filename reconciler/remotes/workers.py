"""Threads for blocking calls, which a process can end without: the standard library's executor
waits for its threads when the interpreter ends, for ever if one of them hangs in a system call.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class _Work(Generic[T]):
    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self.future: Future[T] = Future()

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self._call()
        except BaseException as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class Workers:
    """At most `count` threads, started as they are needed; calls begin in the order they came."""

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._queue: queue.SimpleQueue[_Work[Any] | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._turn = threading.Lock()
        self._started = 0
        self._closed = False

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Have a thread call it. Raises RuntimeError once closed."""
        work = _Work(call)
        with self._turn:
            if self._closed:
                raise RuntimeError(f"{self._name}: closed")
            self._queue.put(work)
            if not self._idle.acquire(blocking=False) and self._started < self._count:
                self._started += 1
                name = f"{self._name}-{self._started}"
                threading.Thread(target=self._work, name=name, daemon=True).start()
        return work.future

    def close(self) -> None:
        """Take no more calls and forget those not begun. What runs is not waited for."""
        with self._turn:
            self._closed = True
            while not self._queue.empty():
                work = self._queue.get()
                if work is not None:
                    work.future.cancel()
            for _ in range(self._started):
                self._queue.put(None)

    def _work(self) -> None:
        while True:
            work = self._queue.get()
            if work is None:
                return
            work.run()
            del work  # or its buffers would live until the next call
            self._idle.release()
