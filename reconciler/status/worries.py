"""What is in the way of jobs, found once for all of them: no job looks through the whole plan."""

from collections import defaultdict
from collections.abc import Sequence

from reconciler.desired.problems import Problem
from reconciler.desired.state import Desired, Job
from reconciler.ids import JobName
from reconciler.observed.progress import Attempt
from reconciler.observed.state import Observed
from reconciler.plan.actions import (
    Action,
    CleanFiles,
    CleanReplica,
    id_of,
)
from reconciler.plan.plan import Held, Plan
from reconciler.plan.power_on import PowerOn
from reconciler.plan.reasons import Reason
from reconciler.plan.restore_actions import CleanRestore, RestoreDisk, RestoreVm
from reconciler.status.standing import JobStanding

_NEEDS_A_PERSON = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.MASS_DELETION_BLOCKED,
        Reason.CLOCK_BEHIND,
        Reason.CREDENTIALS_INVALID,
        Reason.WRONG_KEY,
        Reason.NO_VMS_MATCHED,
        Reason.SR_UNKNOWN,
        Reason.NETWORK_UNKNOWN,
        Reason.POINT_UNKNOWN,
        Reason.RESTORE_CHANGED,
    }
)


def needs_a_person(reason: Reason) -> bool:
    """Say whether trying again, however long, changes nothing."""
    return reason in _NEEDS_A_PERSON


class Worries:
    """Of one report. Each list is in the order of the plan."""

    def __init__(self, desired: Desired, observed: Observed, plan: Plan) -> None:
        self._held_of: defaultdict[JobName, list[tuple[int, Held]]] = defaultdict(list)
        self._held_about: defaultdict[str, list[tuple[int, Held]]] = defaultdict(list)
        self._failed: defaultdict[JobName, list[tuple[Action, Attempt]]] = defaultdict(list)
        self._mistakes: defaultdict[str, list[Problem]] = defaultdict(list)
        for position, held in enumerate(plan.held):
            if not needs_a_person(held.reason) and held.reason is not Reason.TIMED_OUT:
                continue
            if held.action is None:
                self._held_about[held.subject].append((position, held))
            elif (job := job_of(held.action)) is not None:
                self._held_of[job].append((position, held))
        ended = observed.progress.ended
        if any(not attempt.succeeded for attempt in ended.values()):
            for action in plan.actions:
                job, attempt = job_of(action), ended.get(id_of(action))
                if job is not None and attempt is not None and not attempt.succeeded:
                    self._failed[job].append((action, attempt))
        for problem in desired.problems:
            self._mistakes[problem.object].append(problem)

    def held(self, standing: JobStanding) -> list[Held]:
        """Return what of a job is held because a person must act, or because it took too long."""
        found = list(self._held_of.get(standing.job.name, ()))
        if self._held_about:
            for subject in _subjects(standing):
                found += self._held_about.get(subject, ())
        return [held for _, held in sorted(found, key=lambda each: each[0])]

    def failed(self, job: Job) -> Sequence[tuple[Action, Attempt]]:
        """Return what is wanted of a job whose last try failed."""
        return self._failed.get(job.name, ())

    def mistakes(self, job: Job) -> Sequence[Problem]:
        """Return what is wrong with a job's manifest."""
        return self._mistakes.get(f"BackupJob/{job.name}", ())


def _subjects(standing: JobStanding) -> set[str]:
    """Return the words by which the plan names a job and its VMs."""
    names = {f"job {standing.job.name}"}
    for vm in standing.vms:
        names.add(f"VM {vm.name} of job {vm.job}")
        names.update(f"VM {vm.name} on {place}" for place in standing.places)
    names.update(f"job {standing.job.name} on {place}" for place in standing.places)
    return names


def job_of(action: Action) -> JobName | None:
    """Say which job an action is for; None for what belongs to no job, or to a restore."""
    match action:
        case CleanFiles() | CleanReplica() | PowerOn():
            return None
        case RestoreVm() | RestoreDisk() | CleanRestore():
            return None
        case _:
            return action.job
