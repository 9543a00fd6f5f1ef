"""`reconciler backup JOB`: a run of a job now, and its end waited for."""

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from reconciler.assembly import Reconciler, new_owner
from reconciler.cli import logs
from reconciler.cli.exits import ExitCode, Failure, code_of
from reconciler.cli.foreground import run_to_end
from reconciler.cli.inbox import ask, take_answer
from reconciler.cli.loading import job_of, load, only_job, reveal
from reconciler.cli.messages import say
from reconciler.cli.options import Directories, ShowProgress, State, TextOrJson, span_option
from reconciler.cli.output import put_json, put_names
from reconciler.cli.progress import Style, put_line, show, style_of
from reconciler.cli.settlement import Part, PartState, is_settled, part_dict, parts_of
from reconciler.cli.state import StateDirectory, state_directory
from reconciler.clock import Clock, SystemClock
from reconciler.desired.state import Desired, Job, RunRequest
from reconciler.latest import Latest
from reconciler.plan.actions import id_of
from reconciler.status.report import Report
from reconciler.units import render_size

_LOOK_S = 1.0


def backup(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Name of a BackupJob.")],
    directories: Directories,
    wait: Annotated[
        bool, typer.Option(help="Wait for the end; else leave it to the reconciler at work.")
    ] = True,
    timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="Wait no longer than this.")
    ] = None,
    output: TextOrJson = "text",
    progress: ShowProgress = None,
    state: State = None,
) -> None:
    """Run a job now.

    Makes a restore point of each VM of the job on each of its remotes, merges and cleans what is
    then due, and prints the names of the points. If a reconciler is at work with the same state
    directory, the run is handed over to it. Exit code 0: all was done, 3: a part of it, 1: nothing.
    """
    patience = None if timeout is None else span_option("--timeout", timeout)
    logs.set_up(level="ERROR")
    desired = load(directories)
    wanted = _active(job_of(desired, job))
    now = SystemClock().now()
    run = _Run(
        job=wanted,
        request=RunRequest(wanted.name, _next_second(now)),
        place=state_directory(state),
        style=style_of(progress),
        output=output,
        deadline=None if patience is None else now + patience,
    )
    if run.place.live_owner() is not None:
        code = run_to_end(lambda: run.hand_over(wait=wait))
    elif not wait:
        raise Failure(
            "no reconciler is at work with it that the run could be left to",
            subject=f"state directory {run.place.path}",
            hint="start `reconciler run`, or leave --no-wait out",
        )
    else:
        owner = new_owner()
        with run.place.hold(owner):
            code = run_to_end(lambda: run.carry_out(desired, owner))
    raise typer.Exit(code)


def _next_second(now: datetime) -> datetime:
    """Points are named to the second: one that was taken in this very second is none of this run's.

    The plan waits for the instant, which costs a second at most.
    """
    return now.replace(microsecond=0) + timedelta(seconds=1)


def _active(job: Job) -> Job:
    if job.suspend:
        raise Failure(
            "is suspended: nothing is done for it",
            subject=f"BackupJob/{job.name}",
            hint="remove spec.suspend from its manifest",
        )
    return job


@dataclass(frozen=True, slots=True)
class _Run:
    job: Job
    request: RunRequest
    place: StateDirectory
    style: Style
    output: str
    deadline: datetime | None

    async def carry_out(self, desired: Desired, owner: str) -> ExitCode:
        """Be the reconciler, for this job alone, until the run is settled."""
        clock = SystemClock()
        mine = replace(only_job(desired, self.job), requests=(self.request,))
        reconciler = Reconciler(
            Latest(mine),
            clock,
            reveal,
            records=self.place.records,
            owner=owner,
            lines=logs.keep_lines(clock.now),
        )
        async with asyncio.TaskGroup() as group:
            work = group.create_task(reconciler.run())
            drawing = group.create_task(show(reconciler.transfers, self.style))
            parts = await self._settled(reconciler.report, clock)
            work.cancel()
            drawing.cancel()
        return self._conclude(parts)

    async def hand_over(self, *, wait: bool) -> ExitCode:
        """Leave the run to the reconciler at work, and wait for its answer."""
        name = ask(self.place.path, self.request, wants_answer=wait)
        say(f"handed over to the reconciler at work ({self.place.live_owner()})")
        if not wait:
            return ExitCode.OK
        clock = SystemClock()
        while (answer := take_answer(self.place.path, name)) is None:
            if self.place.live_owner() is None:
                raise Failure(
                    "the reconciler that the run was handed over to has ended",
                    subject=f"BackupJob/{self.job.name}",
                    hint="the next one to start will take it up",
                )
            if self._too_late(clock):
                say("it goes on without being waited for", "warning")
                return ExitCode.TIMED_OUT
            await asyncio.sleep(_LOOK_S)
        if answer.error:
            raise Failure(answer.error, subject=f"BackupJob/{self.job.name}")
        return self._conclude(list(answer.parts))

    async def _settled(self, reports: Latest[Report | None], clock: Clock) -> list[Part]:
        """Wait until every part is done or has failed, and what follows from it is done, too."""
        said = False
        while True:
            report = reports.value
            parts: list[Part] = []
            if report is not None:
                parts = self._parts(report, clock)
                if is_settled(parts):
                    if not _has_more_to_do(report):
                        return parts
                    if not said:
                        said = True
                        say("merging and cleaning what is due; stopping it does no harm")
            if self._too_late(clock):
                return parts
            await asyncio.sleep(_LOOK_S)

    def _parts(self, report: Report, clock: Clock) -> list[Part]:
        return parts_of(
            report.desired,
            report.observed,
            report.plan,
            self.job,
            self.request.at,
            clock.now(),
        )

    def _too_late(self, clock: Clock) -> bool:
        return self.deadline is not None and clock.now() >= self.deadline

    def _conclude(self, parts: list[Part]) -> ExitCode:
        """Say what became of it, and find the exit code."""
        done = [part for part in parts if part.state is PartState.DONE]
        for part in parts:
            if part.state is not PartState.DONE:
                word = "failed" if part.state is PartState.FAILED else "not done in time"
                say(f"{part.subject}: {word}: {part.why or 'no reason known'}", "error")
        size = render_size(sum(part.size_bytes for part in done))
        say(f"{len(done)} of {len(parts)} restore points made, {size} on remotes")
        code = self._code(parts)
        self._put(parts, code)
        return code

    def _code(self, parts: list[Part]) -> ExitCode:
        states = {part.state for part in parts}
        if not parts:
            raise Failure(
                "chooses no VM on its pools",
                subject=f"BackupJob/{self.job.name}",
                hint="see spec.selector; `reconciler get vms` lists what there is",
            )
        if PartState.PENDING in states:
            return ExitCode.TIMED_OUT
        if PartState.FAILED not in states:
            return ExitCode.OK
        if PartState.DONE in states:
            return ExitCode.PARTIAL
        reasons = {code_of(part.reason) for part in parts}
        return reasons.pop() if len(reasons) == 1 else ExitCode.ERROR

    def _put(self, parts: list[Part], code: ExitCode) -> None:
        content: dict[str, Any] = {
            "job": self.job.name,
            "requestedAt": self.request.at.isoformat(),
            "exitCode": int(code),
            "parts": [part_dict(part) for part in parts],
        }
        if self.style == "json":
            put_line({"type": "summary", **content})
        elif self.output == "json":
            put_json(content)
        else:
            put_names([part.point for part in parts if part.state is PartState.DONE])


def _has_more_to_do(report: Report) -> bool:
    """Say whether something runs, or is planned and has not just failed."""
    progress = report.observed.progress
    waiting = [
        action
        for action in report.plan.actions
        if (ended := progress.ended.get(id_of(action))) is None or ended.succeeded
    ]
    return bool(progress.running or waiting)
