"""`reconciler operator`: follow objects of a Kubernetes cluster, for as long as it lives."""

from typing import Annotated

import structlog
import typer

from reconciler.assembly import new_owner
from reconciler.cli import logs
from reconciler.cli.exits import ExitCode, Failure, Usage
from reconciler.cli.foreground import run_to_end
from reconciler.cli.options import State
from reconciler.cli.state import state_directory
from reconciler.clock import SystemClock
from reconciler.desired.manifest import KINDS
from reconciler.kube.listening import Scope
from reconciler.kube.login import Credentials, NoLogin
from reconciler.kube.operator import Operator

log = structlog.get_logger(__name__)


def operator(
    namespace: Annotated[
        list[str] | None,
        typer.Option(
            "-n",
            "--namespace",
            metavar="NAME",
            help="Follow the objects of this namespace; may be repeated. A Role in each is enough.",
        ),
    ] = None,
    all_namespaces: Annotated[
        bool,
        typer.Option("-A", "--all-namespaces", help="Follow the objects of every namespace."),
    ] = False,
    state: State = None,
    log_format: Annotated[logs.LogFormat, typer.Option(help="Of the log, on stderr.")] = "json",
) -> None:
    """Follow objects of a Kubernetes cluster and act on them.

    Logs in as the service account of its pod, or by $KUBECONFIG. Runs until SIGTERM or SIGINT
    (Ctrl-C), which it obeys within seconds; killing it does no harm either.
    """
    if bool(namespace) == all_namespaces:
        raise Usage("operator: name one or more with --namespace, or say --all-namespaces")
    logs.set_up(log_format)
    place = state_directory(state)
    owner = new_owner()
    credentials = Credentials()
    try:
        server = credentials.access().server
    except NoLogin as error:
        raise Failure(
            str(error),
            subject="Kubernetes",
            hint="run it in a pod with a service account, or set KUBECONFIG",
        ) from error
    clock = SystemClock()

    async def serve() -> ExitCode:
        await Operator(
            credentials,
            Scope(tuple(KINDS), tuple(dict.fromkeys(namespace or ()))),
            clock,
            records=place.records,
            owner=owner,
            lines=logs.keep_lines(clock.now),
        ).run()
        return ExitCode.OK

    with place.hold(owner):
        log.info("started", server=server, state=str(place.path), owner=owner)
        code = run_to_end(serve, on_terminate=ExitCode.OK)
        log.info("stopped")
    raise typer.Exit(code)
