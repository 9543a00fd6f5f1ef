"""`reconciler operator`: follow objects of a Kubernetes cluster, for as long as it lives."""

import asyncio
import os
from pathlib import Path
from typing import Annotated, Literal

import structlog
import typer
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from reconciler.assembly import new_owner
from reconciler.cli import logs
from reconciler.cli.exits import ExitCode, Failure, Usage
from reconciler.cli.foreground import run_to_end
from reconciler.cli.listening import bind_option, listening, version
from reconciler.cli.options import Listen, State
from reconciler.cli.state import state_directory
from reconciler.clock import SystemClock
from reconciler.desired.manifest import KINDS
from reconciler.kube.job_body import TemplateInvalid, WorkerTemplate
from reconciler.kube.login import Credentials, NoLogin
from reconciler.kube.operator import Home, Operator
from reconciler.kube.scope import Scope
from reconciler.web.certificate import Certificate
from reconciler.web.watch import Watch
from reconciler.web.webhook import Webhook

log = structlog.get_logger(__name__)

Execution = Literal["InProcess", "KubernetesJobs"]


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
    home: Annotated[
        str | None,
        typer.Option(
            metavar="NAMESPACE",
            help="Where the operator itself is, with its Lease and its Jobs; its pod's by default.",
        ),
    ] = None,
    leader_election: Annotated[
        bool,
        typer.Option(help="Work only while elected, so that there can be several of it."),
    ] = True,
    execution: Annotated[
        Execution,
        typer.Option(
            help="Where exports, replications, merges, restores and verifications are carried out."
        ),
    ] = "InProcess",
    worker_template: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A PodTemplateSpec for the pods of KubernetesJobs, with a container named worker.",
        ),
    ] = None,
    protected_vms: Annotated[
        bool,
        typer.Option(help="Keep a ProtectedVM object for each VM of each job."),
    ] = True,
    state: State = None,
    listen: Listen = None,
    webhook: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Judge objects before they are kept (a validating webhook), over HTTPS with"
            " tls.crt and tls.key of this directory.",
        ),
    ] = None,
    webhook_listen: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where the webhook is served, as with --listen.")
    ] = ":9443",
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
        access = credentials.access()
    except NoLogin as error:
        raise Failure(
            str(error),
            subject="Kubernetes",
            hint="run it in a pod with a service account, or set KUBECONFIG",
        ) from error
    clock = SystemClock()
    at_home = Home(
        home or access.namespace or (namespace or ["default"])[0],
        lease="reconciler" if leader_election else None,
        worker=_template_of(execution, worker_template),
        pod=os.environ.get("POD_NAME"),
    )

    async def serve() -> ExitCode:
        at_work = Operator(
            credentials,
            Scope(tuple(KINDS), tuple(dict.fromkeys(namespace or ()))),
            clock,
            home=at_home,
            protected_vms=protected_vms,
            records=place.records,
            owner=owner,
            lines=logs.keep_lines(clock.now),
        )
        watch = Watch(
            lambda: at_work.reconciler,
            clock,
            version(),
            leading=lambda: at_work.leader == owner,
        )
        async with asyncio.TaskGroup() as group:
            if bound is not None:
                group.create_task(watch.serve(bound))
            if secured is not None:
                certificate, bound_too = secured
                group.create_task(Webhook(certificate, at_work.reviewer.answer).serve(bound_too))
            await at_work.run()
        return ExitCode.OK

    with place.hold(owner):
        bound = listening(listen)
        secured = None
        if webhook is not None:
            event = "webhook listening"
            secured = Certificate(webhook), bind_option("--webhook-listen", webhook_listen, event)
        log.info("started", server=access.server, state=str(place.path), owner=owner)
        code = run_to_end(serve, on_terminate=ExitCode.OK)
        log.info("stopped")
    raise typer.Exit(code)


def _template_of(execution: Execution, path: Path | None) -> WorkerTemplate | None:
    if execution == "InProcess":
        return None
    if path is None:
        raise Usage("operator: --execution KubernetesJobs needs a --worker-template")
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        template = WorkerTemplate(content if isinstance(content, dict) else {})
        if template.image is None and "POD_NAME" not in os.environ:
            raise TemplateInvalid("the worker has no image, and there is no pod of ours with one")
        return template
    except (OSError, ValueError, YAMLError) as error:
        raise Failure(
            f"it cannot be used: {error}",
            subject=f"worker template {path}",
            hint="it is a PodTemplateSpec in YAML, with a container named worker of this image",
        ) from error
