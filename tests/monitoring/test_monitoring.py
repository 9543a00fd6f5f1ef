"""What is shipped to watch the program: alerts, their runbook, a dashboard; Prometheus' own tool
judges each, and nothing names a metric or a label that there is not.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from reconciler.status.metrics import METRICS, Metric, MetricKind

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "manifests" / "components" / "monitoring"
RUNBOOKS = ROOT / "docs" / "runbooks.md"
STORIES = Path(__file__).with_name("alerts.yaml")
OF_TARGETS = {"instance", "pod", "le"}
"""Labels that come from where a metric was scraped, and of histograms."""


def load(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


RULES: dict[str, Any] = load(SHIPPED / "prometheus_rule.yaml")["spec"]
ALERTS: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]
DASHBOARD: dict[str, Any] = json.loads((SHIPPED / "dashboard.json").read_text(encoding="utf-8"))


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression that is shipped, and where; Grafana's variables filled in."""
    for alert in ALERTS:
        yield f"alert {alert['alert']}", alert["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            text = target["expr"].replace("$__rate_interval", "5m").replace("$backup_job", ".*")
            yield f"panel {panel['title']}", text


def promtool(*words: str, **options: Any) -> str:
    program = shutil.which("promtool")
    assert program, "promtool is not here; tests/tools.sh installs it"
    ran = subprocess.run([program, *words], capture_output=True, text=True, check=False, **options)
    said = ran.stdout + ran.stderr
    assert ran.returncode == 0, said
    return said


def write(path: Path, content: Any) -> None:
    with path.open("w", encoding="utf-8") as file:
        YAML().dump(content, file)


def test_alerts_fire_when_they_should_and_not_before(tmp_path: Path) -> None:
    write(tmp_path / "rules.yaml", RULES)
    shutil.copy(STORIES, tmp_path)
    promtool("check", "rules", "rules.yaml", cwd=tmp_path)
    promtool("test", "rules", STORIES.name, cwd=tmp_path)


def test_every_alert_fires_in_some_story() -> None:
    fired = {
        test["alertname"]
        for story in load(STORIES)["tests"]
        for test in story["alert_rule_test"]
        if test["exp_alerts"]
    }
    assert fired == {alert["alert"] for alert in ALERTS}


def test_expressions_are_promql(tmp_path: Path) -> None:
    """Recorded under a name of its own each: the tool then parses them all."""
    rules = [
        {"record": f"shipped:{number}", "expr": text}
        for number, (_, text) in enumerate(expressions())
    ]
    write(tmp_path / "rules.yaml", {"groups": [{"name": "all", "rules": rules}]})
    said = promtool("check", "rules", "rules.yaml", cwd=tmp_path)
    assert f"{len(rules)} rules found" in said


KNOWN: dict[str, Metric] = {
    name: metric
    for metric in METRICS
    for name in (
        [f"{metric.name}_{part}" for part in ("bucket", "sum", "count")]
        if metric.kind is MetricKind.HISTOGRAM
        else [metric.name]
    )
}


@pytest.mark.parametrize(("where", "text"), [*expressions()], ids=lambda value: str(value)[:40])
def test_expressions_name_what_there_is(where: str, text: str) -> None:
    names = set(re.findall(r"\breconciler_\w+", text))
    assert names or "process_" in text, where
    assert names <= KNOWN.keys(), f"{where}: no such metric"
    for name, matchers in re.findall(r"(\breconciler_\w+)\{([^}]*)\}", text):
        labels = set(re.findall(r"(\w+)\s*[=!]~?\s*\"", matchers))
        assert labels <= set(KNOWN[name].labels), f"{where}: {name} has no such label"
    named = set(
        re.findall(r"\w+", " ".join(re.findall(r"(?:by|on|left|without) \(([\w, ]+)\)", text)))
    )
    known = {label for name in names for label in KNOWN[name].labels} | OF_TARGETS
    assert named <= known, f"{where}: no such label"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_what_it_is_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    notes = alert["annotations"]
    assert notes["summary"].endswith(".")
    assert notes["description"].endswith(".")
    address, _, anchor = notes["runbook_url"].partition("#")
    assert address.endswith("/docs/runbooks.md")
    assert anchor == alert["alert"].lower()
    used = set(re.findall(r"\$labels\.(\w+)", notes["summary"] + notes["description"]))
    assert used <= {label for metric in METRICS for label in metric.labels}


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    text = RUNBOOKS.read_text(encoding="utf-8")
    sections = re.split(r"^### ", text, flags=re.MULTILINE)[1:]
    assert [section.split("\n", 1)[0] for section in sections] == [
        alert["alert"] for alert in ALERTS
    ]
    for section in sections:
        assert "**Means**" in section, section
        assert "**Do**" in section, section


def test_panels_are_told_apart_and_have_their_place() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (at["x"] + across, at["y"] + down)
            for across in range(at["w"])
            for down in range(at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == "${datasource}"


def test_the_monitor_finds_the_service_and_its_port() -> None:
    service = load(ROOT / "manifests" / "operator" / "service.yaml")
    monitor = load(SHIPPED / "service_monitor.yaml")["spec"]
    ports = {port["name"] for port in service["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["endpoints"]} <= ports
    assert monitor["selector"]["matchLabels"] == service["spec"]["selector"]
