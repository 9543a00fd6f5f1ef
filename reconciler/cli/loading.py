"""From directories on the command line to a desired state, with every problem said on stderr."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from reconciler.cli.exits import Failure
from reconciler.cli.messages import say
from reconciler.desired.problems import Problem
from reconciler.desired.state import Desired, Job, SecretRef
from reconciler.ids import JobName
from reconciler.sources.files import ManifestFiles
from reconciler.sources.render import render_all
from reconciler.sources.secrets import SecretUnavailable, read_secret


def load(directories: Sequence[Path]) -> Desired:
    """Read the manifests once and say what is wrong with them."""
    desired = ManifestFiles([str(directory) for directory in directories]).read()
    say_problems(desired.problems, desired.warnings)
    return desired


def say_problems(problems: Sequence[Problem], warnings: Sequence[Problem]) -> None:
    """Write problems to stderr, each at its place; nothing if there are none."""
    text = render_all(problems, warnings)
    if text:
        say(text.rstrip("\n"))


def reveal(reference: SecretRef) -> str:
    """Fetch a secret at the moment of its use. Raises LookupError: it cannot be had now."""
    try:
        return read_secret(reference).reveal()
    except SecretUnavailable as error:
        raise LookupError(str(error)) from error


def job_of(desired: Desired, name: str) -> Job:
    """Find a job by name. Raises Failure."""
    job = desired.jobs.get(JobName(name))
    if job is None:
        known = ", ".join(sorted(desired.jobs)) or "none"
        raise Failure(
            "no manifest that can be used describes such a job",
            subject=f"BackupJob/{name}",
            hint=f"there are: {known}",
        )
    return job


def only_job(desired: Desired, job: Job) -> Desired:
    """Let one job alone be worked on; the others are still known, so nothing of theirs is."""
    others = {
        name: other if other.id == job.id else replace(other, suspend=True)
        for name, other in desired.jobs.items()
    }
    return replace(
        desired,
        jobs=others,
        pools={name: pool for name, pool in desired.pools.items() if name in job.pools},
        remotes={name: remote for name, remote in desired.remotes.items() if name in job.remotes},
        requests=(),
        restores={},
    )
