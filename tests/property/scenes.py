"""Small scenes for tests: one job, a world in a few lines of YAML, and the plan for it."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ruamel.yaml import YAML
from worlds import instant, observed_of, uuid

from reconciler.desired.retention import Retention
from reconciler.desired.schedule import Schedule
from reconciler.desired.selector import Selector
from reconciler.desired.state import (
    Desired,
    Job,
    JobSchedule,
    LocalPlace,
    Pool,
    Remote,
    SecretRef,
)
from reconciler.ids import JobId, JobName, PoolName, RemoteName, ScheduleId
from reconciler.observed.state import Observed
from reconciler.plan.plan import Plan
from reconciler.plan.planner import plan

EVERYTHING = Retention()


def schedule(
    name: str = "night",
    cron: str = "0 2 * * *",
    retention: Retention = EVERYTHING,
    *,
    job: str = "nightly",
    zone: str = "UTC",
    suspend: bool = False,
    deadline: timedelta = timedelta(hours=1),
) -> JobSchedule:
    identity = ScheduleId(uuid("schedule", job, name))
    return JobSchedule(
        name, identity, Schedule.parse(cron, zone), retention, suspend=suspend, deadline=deadline
    )


def job(*schedules: JobSchedule, name: str = "nightly", **changes: Any) -> Job:
    settings: dict[str, Any] = {
        "name": JobName(name),
        "id": JobId(uuid("job", name)),
        "pools": (PoolName("east"),),
        "remotes": (RemoteName("nas"),),
        "selector": Selector(all=True),
        "schedules": schedules or (schedule(job=name),),
    }
    return Job(**{**settings, **changes})


def wanting(*jobs: Job, **changes: Any) -> Desired:
    """Desired with these jobs, and every pool and remote that they name."""
    pools = {name for each in jobs for name in each.pools}
    remotes = {name for each in jobs for name in each.remotes}
    settings: dict[str, Any] = {
        "pools": {name: Pool(name, ("https://x",), "root", SecretRef(env="X")) for name in pools},
        "remotes": {name: Remote(name, LocalPlace(f"/srv/{name}")) for name in remotes},
        "jobs": {each.name: each for each in jobs},
    }
    return Desired(**{**settings, **changes})


def tree(text: str) -> Mapping[str, Any]:
    parsed: Mapping[str, Any] = YAML(typ="safe", pure=True).load(text)
    return parsed


def point(day: int, **more: str) -> str:
    """Write a point of the night of a day in August, as a tree has it, with more said of it."""
    rest = "".join(f", {key}: {value}" for key, value in more.items())
    return f"{{job: nightly, at: 2026-08-{day} 02:00:05, schedules: [night]{rest}}}"


class Scene:
    """What is wanted, the world, the time; `plan` and what it says."""

    def __init__(self, desired: Desired, text: str) -> None:
        world = tree(text)
        self.desired = desired
        self.now: datetime = instant(world["now"])
        self.observed: Observed = observed_of(world, desired)

    @property
    def plan(self) -> Plan:
        return plan(self.desired, self.observed, self.now)

    def actions(self, kind: Any = object) -> list[Any]:
        return [action for action in self.plan.actions if isinstance(action, kind)]

    def held(self, kind: Any = object) -> list[Any]:
        """What is held; of a kind of action only, if one is given."""
        return [each for each in self.plan.held if kind is object or isinstance(each.action, kind)]

    def reasons(self) -> list[str]:
        return [each.reason.value for each in self.plan.held]
