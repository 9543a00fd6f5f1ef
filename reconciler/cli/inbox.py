"""Runs asked for from outside: files in the state directory, taken up by the reconciler at work.

Two reconcilers must not work on the same pools and remotes, so a `backup` that finds one at work
hands its request over and waits for the answer. A request is a file, so it outlives both: the
next reconciler takes it up. Written under a temporary name and renamed, like everything here.

    requests/<id>.json     {"job": …, "at": …, "answer": true}   removed when settled
    answers/<id>.json      {"parts": [{…}, …], "error": …}        removed by who asked, or by age
    cancellations/<id>.json  {"run": …, "at": …}                 removed by age

A cancellation stays: it is what says that a run's slot is dealt with, until long after that slot.
"""

import asyncio
import contextlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import structlog

from reconciler.cli.settlement import Part, PartState, is_settled, parts_of
from reconciler.clock import Clock
from reconciler.desired.state import Cancellation, RunRequest
from reconciler.ids import JobName, RunId
from reconciler.latest import Latest
from reconciler.status.report import Report

log = structlog.get_logger(__name__)

T = TypeVar("T")

_LOOK_S = 1.0
_KEPT = timedelta(days=1)  # an answer that nobody took
_CANCELLED_KEPT = timedelta(days=400)  # longer than the longest time between two slots
_BYTES_MAX = 64 * 1024
_OPEN_MAX = 1000  # requests taken up at once


@dataclass(frozen=True, slots=True)
class Answer:
    """How an asked-for run ended. error: why it could not even begin."""

    parts: tuple[Part, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Letter:
    """A request, and whether somebody waits for its answer."""

    request: RunRequest
    wants_answer: bool


class Inbox:
    """The working side: takes requests up, answers them when they are settled."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.requests: Latest[tuple[RunRequest, ...]] = Latest(())
        self.cancellations: Latest[tuple[Cancellation, ...]] = Latest(())
        self._directory = directory
        self._clock = clock
        self._open: dict[str, _Letter] = {}
        self._odd: set[str] = set()

    async def run(self, read_report: Callable[[], Report | None]) -> None:
        """Follow the directory for ever."""
        while True:
            await asyncio.to_thread(self._take_up)
            self._publish()
            cancelled = await asyncio.to_thread(self._read_cancellations)
            if cancelled != self.cancellations.value:
                self.cancellations.put(cancelled)
            report = read_report()
            if report is not None:
                for name, letter in list(self._open.items()):
                    answer = self._judge(letter.request, report)
                    if answer is not None:
                        await asyncio.to_thread(self._settle, name, answer, letter.wants_answer)
                        del self._open[name]
            await asyncio.sleep(_LOOK_S)

    def _publish(self) -> None:
        requests = tuple(letter.request for letter in self._open.values())
        if requests != self.requests.value:
            self.requests.put(requests)

    def _take_up(self) -> None:
        for path in sorted((self._directory / "requests").glob("*.json"))[:_OPEN_MAX]:
            if path.stem in self._open:
                continue
            try:
                self._open[path.stem] = _letter_of(_read(path))
            except (OSError, ValueError, TypeError, KeyError) as error:
                log.warning("request not understood", path=str(path), why=str(error))
                answer = Answer(error=f"the request was not understood: {error}")
                self._settle(path.stem, answer, wants_answer=True)

    def _read_cancellations(self) -> tuple[Cancellation, ...]:
        found = []
        oldest = self._clock.now() - _CANCELLED_KEPT
        for path in sorted((self._directory / "cancellations").glob("*.json"))[:_OPEN_MAX]:
            try:
                cancellation = _cancellation_of(_read(path))
                if cancellation.at is not None and cancellation.at < oldest:
                    path.unlink(missing_ok=True)
                else:
                    found.append(cancellation)
            except (OSError, ValueError, TypeError, KeyError) as error:
                if path.stem not in self._odd:
                    self._odd.add(path.stem)
                    log.warning("cancellation not understood", path=str(path), why=str(error))
        return tuple(found)

    def _judge(self, request: RunRequest, report: Report) -> Answer | None:
        """Say how a request ended; None while it has not."""
        if request not in report.desired.requests:
            return None
        job = report.desired.jobs.get(request.job)
        if job is None:
            return Answer(error="no manifest that can be used describes such a job")
        if job.suspend:
            return Answer(error="the job is suspended")
        now = self._clock.now()
        parts = parts_of(report.desired, report.observed, report.plan, job, request.at, now)
        return Answer(tuple(parts)) if is_settled(parts) else None

    def _settle(self, name: str, answer: Answer, wants_answer: bool) -> None:
        done = sum(part.state is PartState.DONE for part in answer.parts)
        log.info(
            "request settled",
            request=name,
            points=f"{done} of {len(answer.parts)}",
            **({"error": answer.error} if answer.error else {}),
        )
        answers = self._directory / "answers"
        if wants_answer:
            _write(answers / f"{name}.json", asdict(answer))
        (self._directory / "requests" / f"{name}.json").unlink(missing_ok=True)
        oldest_s = self._clock.now().timestamp() - _KEPT.total_seconds()
        for path in answers.glob("*.json"):  # of those who did not wait to the end
            if path.stat().st_mtime < oldest_s:
                path.unlink(missing_ok=True)


def ask(directory: Path, request: RunRequest, *, wants_answer: bool = True) -> str:
    """Leave a request for the reconciler at work; return its name."""
    name = secrets.token_hex(8)
    content = {"job": request.job, "at": request.at.isoformat(), "answer": wants_answer}
    _write(directory / "requests" / f"{name}.json", content)
    return name


def cancel(directory: Path, run: RunId, at: datetime) -> None:
    """Leave word that a run is to end, for the reconciler at work or the next one to start."""
    content = {"run": run, "at": at.isoformat()}
    _write(directory / "cancellations" / f"{secrets.token_hex(8)}.json", content)


def peek(directory: Path) -> tuple[tuple[RunRequest, ...], tuple[Cancellation, ...]]:
    """Read what was asked for and cancelled, and change nothing.

    What makes no sense is left out: whoever works with the directory says so.
    """
    letters = _readable(directory / "requests", _letter_of)
    cancellations = _readable(directory / "cancellations", _cancellation_of)
    return tuple(letter.request for letter in letters), tuple(cancellations)


def take_answer(directory: Path, name: str) -> Answer | None:
    """Take the answer to a request, if it is there, and remove it."""
    path = directory / "answers" / f"{name}.json"
    try:
        content = _read(path)
    except FileNotFoundError:
        return None
    path.unlink(missing_ok=True)
    return Answer(tuple(_part_of(part) for part in content["parts"]), str(content["error"]))


def _readable(directory: Path, parse: Callable[[dict[str, Any]], T]) -> Iterator[T]:
    for path in sorted(directory.glob("*.json"))[:_OPEN_MAX]:
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            yield parse(_read(path))


def _letter_of(content: dict[str, Any]) -> _Letter:
    at = datetime.fromisoformat(content["at"])
    if at.tzinfo is None:
        raise ValueError("its time has no time zone")
    request = RunRequest(JobName(str(content["job"])), at)
    return _Letter(request, bool(content.get("answer", True)))


def _cancellation_of(content: dict[str, Any]) -> Cancellation:
    at = datetime.fromisoformat(content["at"])
    if at.tzinfo is None:
        raise ValueError("its time has no time zone")
    return Cancellation(RunId(str(content["run"])), at)


def _part_of(content: dict[str, Any]) -> Part:
    return Part(**{**content, "state": PartState(content["state"])})


def _read(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        content = json.loads(file.read(_BYTES_MAX))
    if not isinstance(content, dict):
        raise ValueError("it is no object")
    return content


def _write(path: Path, content: dict[str, Any] | Sequence[Any]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(json.dumps(content), encoding="utf-8")
    os.replace(temporary, path)
