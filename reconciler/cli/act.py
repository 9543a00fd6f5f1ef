"""`reconciler act`: carry one parcel of actions out and end; what the pods of Jobs run."""

from typing import Annotated

import typer

from reconciler.cli import logs
from reconciler.cli.exits import ExitCode, Failure
from reconciler.cli.foreground import run_to_end
from reconciler.clock import SystemClock
from reconciler.executor.parcel import NoParcel
from reconciler.kube.api import KubeApi
from reconciler.kube.errors import KubeError
from reconciler.kube.login import Credentials
from reconciler.kube.worker import Worker


def act(
    namespace: Annotated[str, typer.Option(metavar="NAME", help="Of the Job.")],
    job: Annotated[str, typer.Option(metavar="NAME", help="The Job that this is the pod of.")],
    log_format: Annotated[logs.LogFormat, typer.Option(help="Of the log, on stderr.")] = "json",
) -> None:
    """Carry out what lies on a Kubernetes Job.

    How it goes is noted on the Job. An operator with --execution KubernetesJobs makes such Jobs;
    nobody else needs this. Exits with 1 if any action failed: why is in the log and on the Job.
    """
    logs.set_up(log_format)

    async def work() -> ExitCode:
        api = KubeApi(Credentials())
        try:
            done = await Worker(api, namespace, job, SystemClock()).run()
        except (KubeError, NoParcel) as error:
            raise Failure(
                str(error),
                subject=f"Job {namespace}/{job}",
                hint="it is made by an operator of the same version, whose worker's role reads it",
            ) from error
        finally:
            await api.close()
        return ExitCode.OK if done else ExitCode.ERROR

    raise typer.Exit(run_to_end(work, on_terminate=ExitCode.INTERRUPTED))
