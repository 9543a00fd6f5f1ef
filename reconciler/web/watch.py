"""/metrics, /healthz and /readyz: what is asked, answered from the newest report and tally."""

import asyncio
import gzip
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from socket import socket

from reconciler.assembly import Reconciler
from reconciler.clock import Clock
from reconciler.status.metrics import Family
from reconciler.status.series import families
from reconciler.status.tally import Tally, way_of
from reconciler.web.exposition import Exposition, Format, format_of
from reconciler.web.health import STANDING_BY, Health, alive, ready
from reconciler.web.server import Answer, Request, Server

FRESH_S = 5.0
"""Metrics are written at most so often, and never for more than half of the time."""

PATHS = ("/metrics", "/healthz", "/readyz")


@dataclass(frozen=True, slots=True)
class _Text:
    """What was written. at: by the event loop's clock. took_s: writing it."""

    text: bytes
    at: float
    took_s: float


class Watch:
    """Answers for one reconciler.

    reconciler: the one that runs now; None while none does. leading: whether it is this process
    that acts. version: of the program. fresh_s: for how long what was written is good.
    """

    def __init__(
        self,
        reconciler: Callable[[], Reconciler | None],
        clock: Clock,
        version: str,
        *,
        leading: Callable[[], bool] = lambda: True,
        fresh_s: float = FRESH_S,
    ) -> None:
        self._reconciler = reconciler
        self._clock = clock
        self._build = version, platform.python_version()
        self._leading = leading
        self._fresh_s = fresh_s
        self._exposition = Exposition()
        self._written: dict[tuple[Format, bool], _Text] = {}
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "metrics")
        self._was_ready = False

    async def serve(self, bound: socket) -> None:
        """Answer on a bound socket until cancelled."""
        try:
            await Server(self.answer).serve(bound)
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def answer(self, request: Request) -> Answer:
        """Answer one GET."""
        match request.path:
            case "/metrics":
                return await self._metrics(request)
            case "/healthz":
                return _answer_of(self.health())
            case "/readyz":
                return _answer_of(self.readiness())
            case _:
                text = f"not here; there are {', '.join(PATHS)}\n"
                return Answer(404, text.encode(), "text/plain; charset=utf-8")

    def health(self) -> Health:
        reconciler = self._reconciler()
        return alive(None if reconciler is None else reconciler.pulse())

    def readiness(self) -> Health:
        reconciler = self._reconciler()
        if not self._leading():
            return STANDING_BY
        found = ready(None if reconciler is None else reconciler.report.value)
        if self._was_ready:
            return Health(tuple(replace(check, ok=True) for check in found.checks))
        self._was_ready = found.ok
        return found

    async def _metrics(self, request: Request) -> Answer:
        format_ = format_of(request.headers.get("accept", ""))
        packed = "gzip" in request.headers.get("accept-encoding", "")
        text = await self._text(format_, packed)
        headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"} if packed else {}
        return Answer(200, text, format_.content_type, headers)

    async def _text(self, format_: Format, packed: bool) -> bytes:
        """Return what is fresh, or write it on a thread: one at a time, whoever asks."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            known = self._written.get((format_, packed))
            began = loop.time()
            if known is not None and began - known.at < max(self._fresh_s, known.took_s):
                return known.text
            work = self._families()

            def write() -> bytes:
                text = self._exposition.write(work(), format_)
                return gzip.compress(text, 1) if packed else text

            text = await loop.run_in_executor(self._thread, write)
            ended = loop.time()
            self._written[format_, packed] = _Text(text, ended, ended - began)
            return text

    def _families(self) -> Callable[[], Sequence[Family]]:
        """Take everything of one instant, to be worked out on another thread."""
        reconciler = self._reconciler()
        report = None if reconciler is None else reconciler.report.value
        tally = Tally() if reconciler is None else reconciler.tally()
        transfers = () if reconciler is None else reconciler.transfers()
        moving = [
            (way, transfer.done_bytes, transfer.total_bytes)
            for transfer in transfers
            if (way := way_of(transfer.action)) is not None
        ]
        now, leading = self._clock.now(), self._leading()

        def work() -> Sequence[Family]:
            return families(report, tally, moving, now, build=self._build, leading=leading)

        return work


def _answer_of(health: Health) -> Answer:
    return Answer(200 if health.ok else 503, health.as_json(), "application/json")
