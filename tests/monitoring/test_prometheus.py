"""A real Prometheus: it scrapes what we serve, and our rules work on what it has scraped."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML
from scenes import Scene, job, wanting

from reconciler.clock import SystemClock
from reconciler.latest import Latest
from reconciler.loop import Pulse
from reconciler.status.report import Report
from reconciler.status.tally import Tally
from reconciler.web.listen import Address, address_of, bind
from reconciler.web.watch import Watch

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "manifests" / "components" / "monitoring" / "prometheus_rule.yaml"
RULES = YAML(typ="safe").load(SHIPPED.read_text(encoding="utf-8"))["spec"]
ALERTS = [rule["alert"] for group in RULES["groups"] for rule in group["rules"]]

PATIENCE_S = 120.0
POINT = "{job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}"
WORLD = f"""
now: 2026-08-21 12:00:00
pools: {{east: {{vms: {{web: {{}}, db: {{}}}}}}, west: {{unknown: no answer}}}}
remotes:
  nas: {{vms: {{web: {{points: [{POINT}]}}}}}}
"""


def report() -> Report:
    scene = Scene(wanting(job(pools=("east", "west"))), WORLD)
    return Report(scene.desired, scene.observed, scene.plan, scene.now)


@asynccontextmanager
async def served() -> AsyncIterator[Address]:
    seen: Any = SimpleNamespace(
        report=Latest(report()), tally=Tally, transfers=tuple, pulse=lambda: Pulse(0.0, 0.0)
    )
    bound = bind(Address("127.0.0.1", 0))
    async with asyncio.TaskGroup() as group:
        watch = Watch(lambda: seen, SystemClock(), "1.2.3")
        serving = group.create_task(watch.serve(bound))
        yield address_of(bound)
        serving.cancel()


def free_port() -> int:
    with bind(Address("127.0.0.1", 0)) as bound:
        return address_of(bound).port


@asynccontextmanager
async def prometheus(directory: Path, target: Address) -> AsyncIterator[httpx.AsyncClient]:
    program = shutil.which("prometheus")
    assert program, "prometheus is not here; tests/tools.sh installs it"
    yaml = YAML(typ="safe")
    with (directory / "rules.yaml").open("w") as file:
        yaml.dump(RULES, file)
    with (directory / "prometheus.yml").open("w") as file:
        yaml.dump(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": ["rules.yaml"],
                "scrape_configs": [
                    {"job_name": "reconciler", "static_configs": [{"targets": [str(target)]}]}
                ],
            },
            file,
        )
    port = free_port()
    with (directory / "log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=log,
            stderr=log,
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        process.terminate()
        await process.wait()


async def until(
    client: httpx.AsyncClient, path: str, is_there: Callable[[Any], bool], **parameters: str
) -> Any:
    """Ask until what is waited for is in the answer."""
    found: Any = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with suppress(httpx.TransportError, ValueError):  # it is not up yet
                    answer = (await client.get(f"/api/v1/{path}", params=parameters)).json()
                    found = answer.get("data")
                    if found and is_there(found):
                        return found
                await asyncio.sleep(0.2)
    except TimeoutError:
        pytest.fail(f"{path} {parameters}: {found}")


def states_of(found: Any) -> dict[str, str]:
    """The state of each rule that was evaluated."""
    rules = [rule for group in found["groups"] for rule in group["rules"]]
    assert not [rule for rule in rules if rule["health"] == "err"], rules
    return {rule["name"]: rule["state"] for rule in rules if rule["health"] == "ok"}


def active(states: dict[str, str]) -> set[str]:
    return {name for name, state in states.items() if state != "inactive"}


@pytest.mark.servers
async def test_it_scrapes_us_and_its_rules_work_on_that(tmp_path: Path) -> None:
    async with served() as address, prometheus(tmp_path, address) as client:
        found = await until(client, "query", itemgetter("result"), query="reconciler_vm_rpo_met")
        states = {each["metric"]["vm_name"]: each["value"][1] for each in found["result"]}
        assert states == {"web": "0", "db": "1"}, "db waits for its first slot"
        jobs = {(each["metric"]["job"], each["metric"]["backup_job"]) for each in found["result"]}
        assert jobs == {("reconciler", "nightly")}
        (target,) = (await until(client, "targets", itemgetter("activeTargets")))["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")

        def seen(found: Any) -> bool:
            """Groups take turns, and before the first scrape nobody is at work."""
            states = states_of(found)
            return (
                len(states) == len(ALERTS)
                and states["ReconcilerControllerAbsent"] == "inactive"
                and {"ReconcilerRPOBreached", "ReconcilerPoolDown"} <= active(states)
            )

        states = states_of(await until(client, "rules", seen))
        assert not {"ReconcilerRemoteDown", "ReconcilerChainBroken"} & active(states)

        exposure = "reconciler_vm_rpo_exposure_seconds"
        (about,) = (await until(client, "metadata", itemgetter(exposure), metric=exposure))[
            exposure
        ]
        assert (about["type"], about["unit"]) == ("gauge", "seconds"), "OpenMetrics was spoken"
