"""What is in the way of which job, in the order of the plan."""

from datetime import UTC, datetime

from scenes import job

from reconciler.desired.problems import Problem
from reconciler.desired.state import Desired
from reconciler.ids import JobName, PoolName, VmUuid
from reconciler.observed.progress import Attempt, Progress
from reconciler.observed.state import Observed
from reconciler.plan.actions import Snapshot, id_of
from reconciler.plan.plan import Held, Plan
from reconciler.plan.reasons import Reason
from reconciler.status.standing import JobStanding
from reconciler.status.worries import Worries

NOW = datetime(2026, 1, 5, tzinfo=UTC)
MINE, OTHER = job(name="mine"), job(name="other")


def snapshot(of: str, vm: str = "web") -> Snapshot:
    name = JobName(of)
    return Snapshot(PoolName("east"), VmUuid(vm), vm, name, MINE.id, (), NOW, Reason.SCHEDULED)


def standing() -> JobStanding:
    return JobStanding(MINE, (), (), None, places=("remote nas",))


def test_what_is_held_is_told_to_whom_it_is_about() -> None:
    about = Held("job mine on remote nas", Reason.CLOCK_BEHIND, "second")
    stuck = Held("VM web", Reason.CREDENTIALS_INVALID, "first", snapshot("mine"))
    plan = Plan(
        held=(
            stuck,
            Held("VM web", Reason.CREDENTIALS_INVALID, "of another", snapshot("other")),
            Held("job other", Reason.CLOCK_BEHIND, "of another"),
            Held("VM web", Reason.WAITING_FOR_SLOT, "no trouble", snapshot("mine")),
            about,
            Held("VM web", Reason.TIMED_OUT, "third", snapshot("mine")),
        )
    )
    found = Worries(Desired(), Observed(), plan).held(standing())
    assert [each.why for each in found] == ["first", "second", "third"]


def test_only_failures_of_what_is_still_wanted_count() -> None:
    failed, wanted, done = snapshot("mine", "a"), snapshot("mine", "b"), snapshot("other", "c")
    bad = Attempt(NOW, succeeded=False, count=1, reason="XapiError", why="no")
    progress = Progress(
        ended={id_of(failed): bad, id_of(done): bad, id_of(wanted): Attempt(NOW, succeeded=True)}
    )
    worries = Worries(Desired(), Observed(progress=progress), Plan(actions=(failed, wanted)))
    assert worries.failed(MINE) == [(failed, bad)]
    assert list(worries.failed(OTHER)) == []


def test_mistakes_are_those_of_the_job() -> None:
    mine = Problem("a.yaml", 1, 1, "wrong", object="BackupJob/mine")
    other = Problem("a.yaml", 2, 1, "wrong", object="BackupJob/other")
    worries = Worries(Desired(problems=(other, mine)), Observed(), Plan())
    assert list(worries.mistakes(MINE)) == [mine]
