"""The progress of a transfer on its task, in whole percents: an event each, not one per block."""

from reconciler.lab.tasks import Tasks


class Progress:
    """Counts `steps` equal steps."""

    def __init__(self, tasks: Tasks, task: str, steps: int) -> None:
        self._tasks = tasks
        self._task = task
        self._steps = max(1, steps)
        self._done = 0
        self._shown = 0

    def step(self, count: int = 1) -> None:
        self._done += count
        percent = self._done * 100 // self._steps
        if percent != self._shown:
            self._shown = percent
            self._tasks.progress(self._task, percent / 100)
