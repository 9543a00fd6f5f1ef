"""`reconciler run`: directories of manifests, followed and acted on, until a signal ends it."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace
from socket import socket
from typing import Annotated

import structlog
import typer

from reconciler.assembly import Reconciler, new_owner
from reconciler.cli import logs
from reconciler.cli.exits import ExitCode
from reconciler.cli.foreground import run_to_end
from reconciler.cli.inbox import Inbox
from reconciler.cli.listening import listening, version
from reconciler.cli.loading import reveal, say_problems
from reconciler.cli.messages import say
from reconciler.cli.options import Directories, Listen, ShowProgress, State
from reconciler.cli.progress import Style, show, style_of
from reconciler.cli.state import StateDirectory, state_directory
from reconciler.clock import SystemClock
from reconciler.desired.problems import Problem
from reconciler.desired.state import Approval, Desired
from reconciler.latest import Latest
from reconciler.sources.files import ManifestFiles
from reconciler.web.watch import Watch

log = structlog.get_logger(__name__)


def run(
    directories: Directories,
    state: State = None,
    progress: ShowProgress = None,
    listen: Listen = None,
    log_format: Annotated[logs.LogFormat, typer.Option(help="Of the log, on stderr.")] = "console",
    approve: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HASH",
            help="Let the deletions go ahead that `plan` shows as blocked under this hash; may be "
            "repeated.",
        ),
    ] = None,
) -> None:
    """Follow directories of manifests and act on them.

    Runs until SIGTERM or SIGINT (Ctrl-C), which it obeys within seconds; killing it does no harm
    either. Manifests may change at any time; their problems are shown when they change.
    """
    logs.set_up(log_format)
    place = state_directory(state)
    owner = new_owner()
    server = _Server(
        files=ManifestFiles([str(directory) for directory in directories]),
        place=place,
        owner=owner,
        style=style_of(progress),
        log_format=log_format,
        approvals=tuple(Approval(each) for each in approve or ()),
    )
    with place.hold(owner):
        server.bound = listening(listen)
        log.info("started", state=str(place.path), owner=owner)
        code = run_to_end(server.serve, on_terminate=ExitCode.OK)
        log.info("stopped")
    raise typer.Exit(code)


@dataclass(slots=True)
class _Server:
    """Joins what fills the desired state (manifests, approvals, requests) to a Reconciler."""

    files: ManifestFiles
    place: StateDirectory
    owner: str
    style: Style
    log_format: logs.LogFormat
    approvals: tuple[Approval, ...]
    bound: socket | None = None

    async def serve(self) -> ExitCode:
        """Work until cancelled."""
        clock = SystemClock()
        manifests: Latest[Desired | None] = Latest(None)
        desired: Latest[Desired] = Latest(Desired())
        inbox = Inbox(self.place.path, clock)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(manifests))
            await manifests.newer_than(0)
            self._join(manifests, inbox, desired)
            reconciler = Reconciler(
                desired,
                clock,
                reveal,
                records=self.place.records,
                owner=self.owner,
                lines=logs.keep_lines(clock.now),
            )
            group.create_task(self._join_on(manifests, inbox, desired))
            group.create_task(inbox.run(lambda: reconciler.report.value))
            if self.bound is not None:
                watch = Watch(lambda: reconciler, clock, version())
                group.create_task(watch.serve(self.bound))
            group.create_task(show(reconciler.transfers, self.style, self._put_plain))
            await reconciler.run()
        return ExitCode.OK

    async def _follow(self, manifests: Latest[Desired | None]) -> None:
        """Put each new state of the manifests, and say what is wrong with it."""
        shown: tuple[tuple[Problem, ...], tuple[Problem, ...]] = ((), ())
        async with aclosing(self.files.follow()) as states:
            async for state in states:
                log.info(
                    "manifests read",
                    pools=len(state.pools),
                    remotes=len(state.remotes),
                    jobs=len(state.jobs),
                    problems=len(state.problems),
                )
                if (state.problems, state.warnings) != shown:
                    shown = (state.problems, state.warnings)
                    self._say(state)
                manifests.put(state)

    def _say(self, state: Desired) -> None:
        if self.log_format == "json":
            for problem in state.problems:
                where = f"{problem.path}:{problem.line}:{problem.column}"
                log.warning("problem in manifest", where=where, what=problem.message)
        elif state.problems or state.warnings:
            say_problems(state.problems, state.warnings)
        else:
            say("no problems in manifests any more", "good")

    async def _join_on(
        self, manifests: Latest[Desired | None], inbox: Inbox, desired: Latest[Desired]
    ) -> None:
        bell = asyncio.Event()
        manifests.ring(bell)
        inbox.requests.ring(bell)
        inbox.cancellations.ring(bell)
        while True:
            await bell.wait()
            bell.clear()
            self._join(manifests, inbox, desired)

    def _join(
        self, manifests: Latest[Desired | None], inbox: Inbox, desired: Latest[Desired]
    ) -> None:
        state = manifests.value
        assert state is not None, "nothing is joined before the manifests are read"
        whole = replace(
            state,
            approvals=(*state.approvals, *self.approvals),
            requests=(*state.requests, *inbox.requests.value),
            cancellations=(*state.cancellations, *inbox.cancellations.value),
        )
        if whole != desired.value:
            desired.put(whole)

    def _put_plain(self, line: str) -> None:
        if self.log_format == "json":
            log.info("transfers", sentence=line)
        else:
            say(line)
