"""Rule: a plan that would delete much is held until a person says yes to exactly that.

Retention rolls: with each new point of a VM, each schedule may let go of one old one. That much
is free. What goes beyond is *excess*, and a job's prunes at a destination are all held together
when the excess there is more than `percentMax` of the job's points there; all of the job's prunes
are, when its excess in one plan is more than `pointsMax`. So a job with thousands of VMs prunes
each night as it should, a VM with three points may roll to two, and a `keepLast` lowered from
thirty to one by a slip of the finger, or a clock that jumps a year, deletes nothing.

What is approved is a state: the hash names the points that will be *left*. It stays the same while
the approved deletions are carried out one by one, and means nothing for any other plan, such as
one with another rule, or one made after more points came or went.
"""

import hashlib
from collections.abc import Mapping, Sequence

from reconciler.desired.state import Desired, Job
from reconciler.plan.admit import subject_of
from reconciler.plan.draft import Draft
from reconciler.plan.reasons import Reason
from reconciler.plan.retention import Deletion, Ledger


def rule(desired: Desired, job: Job, ledgers: Mapping[str, Ledger], draft: Draft) -> None:
    """Let the job's prunes pass into the plan, or hold them. ledgers: by destination."""
    excess = {place: _excess(job, ledger) for place, ledger in ledgers.items()}
    protected = job.id in desired.protected_jobs
    approved = {each for approval in desired.approvals for each in approval.deletions.split("+")}
    for place, ledger in ledgers.items():
        prunes = [prune for of_vm in ledger.prunes for prune in of_vm]
        if not prunes:
            continue
        if protected:
            why = "the manifest of its job has problems: its points are protected"
            _hold(prunes, Reason.INVALID_SPEC, why, draft)
            continue
        why = _over_threshold(job, ledger, excess[place], sum(excess.values()))
        if why:
            name = hash_of_what_stays(job, place, ledger)
            if name not in approved:
                draft.approvals.append(name)
                why = f"{why}; approve with {name}"
                _hold(prunes, Reason.MASS_DELETION_BLOCKED, why, draft, name)
                continue
        draft.actions.extend(prunes)


def hash_of_what_stays(job: Job, place: str, ledger: Ledger) -> str:
    """Name the set of points of a job that will be left at a destination."""
    stays = sorted(f"{vm} {point.stamp}" for vm, kept in ledger.kept for point in kept)
    text = "\n".join([job.id, place, *stays])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _excess(job: Job, ledger: Ledger) -> int:
    """Count the deletions, of now and of soon, beyond what retention lets go as it rolls."""
    free = max(1, len(job.schedules))
    return sum(max(0, count - free) for count in ledger.going)


def _over_threshold(job: Job, ledger: Ledger, excess: int, excess_of_job: int) -> str:
    """Say which threshold the plan is over; "" if none."""
    going = sum(ledger.going)
    share = f"{going} of {ledger.points_total} points of job {job.name} would go"
    if excess * 100 > job.guard.percent_max * ledger.points_total:
        return f"{share} at once, more than {job.guard.percent_max} %"
    if excess_of_job > job.guard.points_max:
        return f"{share} at once, {excess_of_job} more than usual (limit {job.guard.points_max})"
    return ""


def _hold(
    prunes: Sequence[Deletion], reason: Reason, why: str, draft: Draft, approval: str = ""
) -> None:
    for prune in prunes:
        draft.hold(subject_of(prune), reason, why, prune, approval=approval)
