"""The harness: put any multi-step operation on a remote through every crash and every error.

    async def test_publish(enumerate_crashes):
        await enumerate_crashes(scenario, operation, check, at_least=500)

`scenario(remote)` writes the world before; all of it is durable then. `operation(remote)` is what
is examined. `recovery(remote)` is what the reconciler would do afterwards; by default the same
operation again, for operations are idempotent. `check(remote, filesystem, stage)` raises
AssertionError if the world is not as it must be; stage is "before" or "after" recovery, or
"lasting": a power cut after it took what was not durable (debris that was removed may be back). It
reads, and judges by nothing but what it reads: equal states are checked once at each stage.

A failing state prints a name like `cut@17:lost=3,5/kill@4` (the second crash happened during
recovery); `CRASH_STATE=<name> pytest <test>` looks at that one alone.

A power cut may lose any set of what was not synced. A test says how many of these sets are worth a
look at each moment; a run of all tests takes a quarter of them, and a quarter of the moments of
each recovery, other ones after each crash. `CRASH_SHARE=1 pytest tests/crash` takes all. Every
moment of an operation, every call and every kind of crash is looked at in any case.
"""

import errno
import functools
import itertools
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

import pytest

from reconciler.remotes.crashes import Crash, Image
from reconciler.remotes.errors import RemoteError
from reconciler.remotes.faults import Fault, concerns
from reconciler.remotes.file import FileRemote
from reconciler.remotes.memory import MemoryFilesystem
from reconciler.remotes.remote import Traits
from reconciler.remotes.threads import Threads

Operation = Callable[[FileRemote], Awaitable[None]]
Check = Callable[[FileRemote, MemoryFilesystem, str], Awaitable[None]]

FAILURES_SHOWN = 10
ATTEMPTS = 3
SHARE = float(os.environ.get("CRASH_SHARE", "0.25"))
STRIDE = round(1 / SHARE)
# Longer than a dead owner's lock is honoured.
LEASE_S = 60.0
ERRNOS = (
    errno.EIO,
    errno.ENOSPC,
    errno.EROFS,
    errno.ESTALE,
    errno.EACCES,
    errno.EDQUOT,
    errno.ENOENT,
    errno.EEXIST,
)
LOST_REPLIES = frozenset({errno.ENOENT, errno.EEXIST, errno.EIO})


def share_of(subsets_max: int) -> int:
    return max(1, round(subsets_max * SHARE))


def remote_on(filesystem: MemoryFilesystem, generation: str = "") -> FileRemote:
    """A remote on a model, as a new process would open it. generation: in its temporary names."""
    numbers = itertools.count(1)
    return FileRemote(
        "cellar",
        filesystem,
        Threads("cellar", None),
        Traits(reflink=filesystem.reflink),
        lambda: f"{generation}x{next(numbers)}",
        read_only=False,
    )


@dataclass
class Findings:
    """states: looked at. distinct: of them no two alike. failures: name and what was wrong."""

    states: int = 0
    distinct: int = 0
    failures: list[str] = field(default_factory=list)

    def conclude(self, at_least: int) -> None:
        """Fail with the names of failing states, or if there were too few to mean anything."""
        only = os.environ.get("CRASH_STATE")
        print(f"{self.states} states, {self.distinct} distinct, {len(self.failures)} wrong")
        shown = "\n".join(self.failures[:FAILURES_SHOWN])
        assert not self.failures, f"{len(self.failures)} of {self.states} states:\n{shown}"
        assert only or self.states >= at_least, f"only {self.states} states: is this test empty?"


@dataclass
class Examination:
    """One operation under examination; what is alike is examined once."""

    recovery: Operation
    check: Check
    failing: tuple[type[Exception], ...]
    make: Callable[..., MemoryFilesystem]
    depth: int
    subsets_max: int
    findings: Findings = field(default_factory=Findings)
    seen: set[object] = field(default_factory=set)
    right: set[object] = field(default_factory=set)
    # What is alike is known by the chunks it is made of, as long as these are alive.
    kept: list[Image] = field(default_factory=list)
    only: str | None = field(default_factory=lambda: os.environ.get("CRASH_STATE"))

    async def crashed(self, name: str, crash: Crash, depth: int = 1) -> None:
        """Look at what a crash left, recover, look again; then crash during the recovery."""
        if self.only and not (self.only + "/").startswith(name + "/"):
            return
        self.findings.states += 1
        fingerprint = crash.fingerprint()
        if fingerprint in self.seen and not self.only:
            return
        self.seen.add(fingerprint)
        self.findings.distinct += 1
        filesystem = self.make(crash.image, crash.pending)
        await self._settle(name, filesystem, depth)
        self.kept.append(filesystem.image)
        if depth < self.depth:
            inner_max = min(8, self.subsets_max)
            inner_crashes = filesystem.crashes(subsets_max=inner_max, coarse=True)
            for number, inner in enumerate(inner_crashes, self.findings.distinct):
                if self.only or number % STRIDE == 0:
                    await self.crashed(f"{name}/{inner.name}", inner, depth + 1)

    async def failed(self, name: str, filesystem: MemoryFilesystem) -> None:
        """Look at what an error left, recover, look again; then cut the power after the error."""
        self.findings.states += 1
        cuts = list(filesystem.crashes_now(subsets_max=max(1, self.subsets_max // 8)))
        fingerprint = cuts[0].fingerprint(), filesystem.forgotten
        if fingerprint not in self.seen or self.only:
            self.seen.add(fingerprint)
            self.findings.distinct += 1
            filesystem.fault = None
            await self._settle(name, filesystem, depth=1)
        for crash in cuts:
            await self.crashed(f"{name}/{crash.name}", crash, self.depth)

    async def _settle(self, name: str, filesystem: MemoryFilesystem, depth: int) -> None:
        try:
            remote = remote_on(filesystem, f"g{depth}")
            await self._check(remote, filesystem, "before")
            filesystem.pass_time(LEASE_S)
            await self._recover(filesystem, depth)
            await self._check(remote_on(filesystem), filesystem, "after")
            await self._outlives_a_power_cut(filesystem)
        except Exception as error:  # every state is looked at, whatever the one before did
            if self.only:
                raise
            self.findings.failures.append(f"  {name}: {type(error).__name__}: {error}")

    async def _check(self, remote: FileRemote, filesystem: MemoryFilesystem, stage: str) -> None:
        """Check it, unless the same was right before: recoveries end in one of a few states."""
        state = stage, filesystem.image.fingerprint()
        if state not in self.right:
            await self.check(remote, filesystem, stage)
            self.right.add(state)

    async def _outlives_a_power_cut(self, filesystem: MemoryFilesystem) -> None:
        """What an operation did is durable once it has returned, whatever went before it."""
        for crash in filesystem.crashes_now(subsets_max=max(1, self.subsets_max // 16)):
            survivor = self.make(crash.seen)
            try:
                await self._check(remote_on(survivor), survivor, "lasting")
            except AssertionError as error:
                raise AssertionError(f"after recovery, {crash.name}: {error}") from error

    async def _recover(self, filesystem: MemoryFilesystem, depth: int) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self.recovery(remote_on(filesystem, f"g{depth}a{attempt}"))
            except self.failing:
                if attempt == ATTEMPTS:
                    raise
                filesystem.pass_time(LEASE_S)
            else:
                return


async def _world(scenario: Operation, make: Callable[..., MemoryFilesystem]) -> Image:
    filesystem = make()
    await scenario(remote_on(filesystem))
    return filesystem.image


@pytest.fixture
def enumerate_crashes():
    """Run an operation once; examine every state that a crash during it could leave."""

    async def enumerate_(
        scenario: Operation,
        operation: Operation,
        check: Check,
        *,
        recovery: Operation | None = None,
        at_least: int,
        reflink: bool = False,
        hard_links: bool = True,
        depth: int = 2,
        subsets_max: int = 256,
        failing: tuple[type[Exception], ...] = (RemoteError,),
    ) -> Findings:
        subsets_max = share_of(subsets_max)
        make = functools.partial(MemoryFilesystem, reflink=reflink, hard_links=hard_links)
        image = await _world(scenario, make)
        filesystem = make(image)
        await check(remote_on(filesystem), filesystem, "before")
        await operation(remote_on(filesystem, "g0"))
        await check(remote_on(filesystem), filesystem, "after")
        # Once it has returned, a power cut takes nothing of it away.
        for crash in filesystem.crashes_now(subsets_max=subsets_max):
            survivor = make(crash.seen)
            await check(remote_on(survivor), survivor, "lasting")
        examination = Examination(recovery or operation, check, failing, make, depth, subsets_max)
        for crash in filesystem.crashes(subsets_max=subsets_max):
            await examination.crashed(crash.name, crash)
        examination.findings.conclude(at_least)
        return examination.findings

    return enumerate_


@pytest.fixture
def enumerate_errors():
    """Run an operation again and again, with each call failing in turn in each way."""

    async def enumerate_(
        scenario: Operation,
        operation: Operation,
        check: Check,
        *,
        recovery: Operation | None = None,
        at_least: int,
        reflink: bool = False,
        hard_links: bool = True,
        errnos: Iterable[int] = ERRNOS,
        subsets_max: int = 64,
        failing: tuple[type[Exception], ...] = (RemoteError,),
    ) -> Findings:
        subsets_max = share_of(subsets_max)
        make = functools.partial(MemoryFilesystem, reflink=reflink, hard_links=hard_links)
        image = await _world(scenario, make)
        whole = make(image)
        await operation(remote_on(whole, "g0"))
        examination = Examination(recovery or operation, check, failing, make, 1, subsets_max)
        for fault in _faults(whole, errnos):
            name = _name_of(fault)
            if examination.only and not (examination.only + "/").startswith(name + "/"):
                continue
            filesystem = make(image, fault=fault)
            try:
                await operation(remote_on(filesystem, "g0"))
            except failing:
                pass
            except Exception as error:
                examination.findings.failures.append(f"  {name}: came out as {error!r}")
            await examination.failed(name, filesystem)
        examination.findings.conclude(at_least)
        return examination.findings

    return enumerate_


def _faults(whole: MemoryFilesystem, errnos: Iterable[int]) -> Iterable[Fault]:
    """Every way to fail the calls that the operation makes when nothing fails."""
    calls: Sequence = whole.calls
    for spot in sorted({(call.kind, call.path) for call in calls}):
        yield Fault(0, errno.EIO, spot=spot)
    for number in errnos:
        for at, call in enumerate(calls):
            if not concerns(number, call):
                continue
            if number in LOST_REPLIES and call.changes:
                yield Fault(at, number, done=True)
            if number in (errno.ENOENT, errno.EEXIST):
                continue  # as a mere lie these two are no fault of a file system
            yield Fault(at, number)
            yield Fault(at, number, lasting=True)
            if call.kind in ("pwritev", "copy_from", "clone_from"):
                yield Fault(at, number, short=True)
                yield Fault(at, number, short=True, lasting=True)


def _name_of(fault: Fault) -> str:
    if fault.spot is not None:
        return f"{errno.errorcode[fault.number]}@{fault.spot[0]}:{fault.spot[1].replace('/', '|')}"
    ways = [way for way in ("lasting", "done", "short") if getattr(fault, way)]
    return ":".join([errno.errorcode[fault.number] + f"@call{fault.at}", *ways])
