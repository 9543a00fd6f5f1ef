"""BackupRun objects, kept from what is noted of runs: one for each, asked for or not.

An object that a person made is the run that it asks for: its status is kept, and nothing else. For
other runs one is made, called `<job>-<stamp>`, so that making it twice is finding it. Nothing owns
them: records outlive their jobs. Of those that we made, the newest of each job stay, as many as the
job says; one of a run that is over and that goes, by that or by a person, is not made again.

A run that an object calls open and that nobody is at is Interrupted; it is never stuck.
"""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime

import structlog

from reconciler.clock import Clock
from reconciler.desired.document import Identity
from reconciler.desired.manifest import JOB, RUN
from reconciler.desired.run_history import USUAL
from reconciler.desired.state import Job
from reconciler.executor.run_pictures import RunPicture
from reconciler.ids import JobName, RunId, run_id
from reconciler.kube.api import KubeApi
from reconciler.kube.listening import Listening
from reconciler.kube.objects import Raw
from reconciler.kube.records import MADE_BY, Records, Write
from reconciler.kube.run_status import BAD, OPEN, conditions_of, status_of
from reconciler.latest import Latest
from reconciler.status.report import Report
from reconciler.status.runs import RunState, open_runs
from reconciler.status.tally import failures_in_a_row

log = structlog.get_logger(__name__)

_PAUSE_S = 1.0
_RETRY_S = 5.0
_NAME_MAX = 253
Objects = Mapping[Identity, Raw]
Pictures = Latest[tuple[RunPicture, ...] | None]


class RunObjects:
    """Follows pictures until cancelled. pictures: None until the runs were looked at once."""

    def __init__(
        self,
        api: KubeApi,
        listening: Listening,
        report: Latest[Report | None],
        pictures: Pictures,
        clock: Clock,
    ) -> None:
        self._records = Records(api, listening, clock)
        self._listening = listening
        self._report = report
        self._pictures = pictures
        self._clock = clock
        self._recorded: set[RunId] = set()  # runs that are over, and were seen to be said to be

    async def run(self) -> None:
        """Keep the objects, for ever."""
        bell = asyncio.Event()
        for mailbox in (self._pictures, self._report, self._listening.objects):
            mailbox.ring(bell)
        while True:
            bell.clear()
            failed = await self._round()
            await asyncio.sleep(_PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_S if failed else None):
                    await bell.wait()

    async def _round(self) -> bool:
        """Write what is to be written; say whether any of it failed."""
        objects, pictures = self._listening.objects.value, self._pictures.value
        report = self._report.value
        if objects is None or pictures is None or report is None:
            return False
        runs = {identity: raw for identity, raw in objects.items() if identity.kind == RUN}
        writes = self._writes(runs, pictures, report)
        failures = await self._records.write(each for each in writes if each is not None)
        if failures:
            log.info("runs not told", count=len(failures), why=str(failures[0]))
        return bool(failures)

    def _writes(
        self, runs: Objects, pictures: tuple[RunPicture, ...], report: Report
    ) -> Iterator[Write | None]:
        by_run = {_run_of(identity, raw): identity for identity, raw in runs.items()}
        fresh: dict[Identity, RunPicture] = {}
        for picture in pictures:
            identity = by_run.pop(picture.row.id, None)
            if identity is not None:
                self._note_seen(picture, runs[identity])
                yield self._records.tell(identity, runs[identity], status_of(picture))
            elif picture.row.job in report.desired.jobs and not self._was_seen(picture):
                fresh[_identity_of(picture)] = picture
        for run, identity in by_run.items():
            state = _left(run, runs[identity], report)
            if state is not None:
                said = conditions_of(state), {"state": state.value, "completionTime": self._now()}
                yield self._records.tell(identity, runs[identity], said)
        made = {identity: _raw_of(picture) for identity, picture in fresh.items()}
        gone = surplus({**runs, **made}, report.desired.jobs)
        for identity in fresh.keys() - gone:
            yield self._records.make(identity, made[identity]["spec"], status_of(fresh[identity]))
        for identity in gone & runs.keys():
            yield self._records.remove(identity)
        self._recorded &= {picture.row.id for picture in pictures}

    def _note_seen(self, picture: RunPicture, raw: Raw) -> None:
        if picture.row.state in OPEN:
            self._recorded.discard(picture.row.id)
        elif picture.row.state is _state_in(raw):
            self._recorded.add(picture.row.id)

    def _was_seen(self, picture: RunPicture) -> bool:
        return picture.row.state not in OPEN and picture.row.id in self._recorded

    def _now(self) -> str:
        return f"{self._clock.now():%Y-%m-%dT%H:%M:%SZ}"


def object_name(run: RunId) -> str:
    """Name the object of a run: `nightly-20260131t020000z`."""
    full_name, _, stamp = run.rpartition("/")
    job, end = full_name.rpartition("/")[2], f"-{stamp.lower()}"
    if len(job) + len(end) > _NAME_MAX:
        digest = hashlib.blake2b(job.encode(), digest_size=4).hexdigest()
        job = f"{job[: _NAME_MAX - len(end) - 9].rstrip('.-')}-{digest}"
    return f"{job}{end}"


def _run_of(identity: Identity, raw: Raw) -> RunId:
    """Name the run that an object is of."""
    spec = raw.get("spec") or {}
    return run_id(JobName(identity.sibling(str(spec["jobRef"]["name"]))), _time_of(raw))


def _time_of(raw: Raw) -> datetime:
    """Say which moment a run is of."""
    spec = raw.get("spec") or {}
    return datetime.fromisoformat(spec.get("at") or raw["metadata"]["creationTimestamp"])


def _identity_of(picture: RunPicture) -> Identity:
    """Name the object that is made for a run."""
    job = Identity.named(JOB, picture.row.job)
    return Identity(RUN, job.namespace, object_name(picture.row.id))


def _raw_of(picture: RunPicture) -> Raw:
    """Return an object as it is made, as far as it says whether it stays."""
    row = picture.row
    job = Identity.named(JOB, row.job).name
    return {
        "metadata": {"labels": MADE_BY},
        "spec": {
            "jobRef": {"name": job},
            "at": row.due.isoformat(),
            "trigger": row.cause.value,
        },
        "status": {"state": row.state.value},
    }


def _state_in(raw: Raw) -> RunState | None:
    try:
        return RunState(str((raw.get("status") or {}).get("state")))
    except ValueError:
        return None


def _left(run: RunId, raw: Raw, report: Report) -> RunState | None:
    """Say what a run is of which nothing is noted; None: nothing is to be said.

    One that was open is nobody's any more. One that was asked for and of which nothing is wanted
    was answered before it began: every VM has a point of its time or later.
    """
    state = _state_in(raw)
    if state in OPEN:
        return RunState.INTERRUPTED
    if state is not None or not report.is_whole:
        return None
    asked = {run_id(each.job, each.at) for each in report.desired.requests}
    cancelled = {each.run for each in report.desired.cancellations}
    if run in cancelled:
        return RunState.CANCELLED
    job = report.desired.jobs.get(JobName(run.rpartition("/")[0]))
    if run not in asked or job is None or job.suspend:
        return None
    return None if run in open_runs(report.plan, report.progress) else RunState.SUCCEEDED


def surplus(runs: Objects, jobs: Mapping[JobName, Job]) -> set[Identity]:
    """Choose the objects that are not kept any more: of those that we made, and that are over."""
    by_job: defaultdict[tuple[JobName, bool], list[tuple[datetime, Identity]]] = defaultdict(list)
    for identity, raw in runs.items():
        labels = raw["metadata"].get("labels") or {}
        state = _state_in(raw)
        if state is None or state in OPEN or not MADE_BY.items() <= labels.items():
            continue
        job = JobName(identity.sibling(str(raw["spec"]["jobRef"]["name"])))
        by_job[job, state in BAD].append((_time_of(raw), identity))
    gone: set[Identity] = set()
    for (job, bad), found in by_job.items():
        history = jobs[job].history if job in jobs else USUAL
        kept = history.bad if bad else history.good
        found.sort(reverse=True)
        gone.update(identity for _, identity in found[kept:])
    return gone


def noted_failures(objects: Objects) -> dict[JobName, int]:
    """Count the runs of each job that failed since its last good one, as far as records go."""
    runs = [(_time_of(raw), identity) for identity, raw in objects.items() if identity.kind == RUN]
    ended = [
        (JobName(identity.sibling(str(objects[identity]["spec"]["jobRef"]["name"]))), state)
        for _, identity in sorted(runs, reverse=True)
        if (state := _state_in(objects[identity])) is not None and state not in OPEN
    ]
    return failures_in_a_row(ended)
