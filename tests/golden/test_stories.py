"""Planner stories: what is wanted, how the world stands, and what the planner makes of it.

A story is a directory: `desired.yaml` (manifests, as a user writes them), `world.yaml` (see
tests/property/worlds.py), `plan.txt` (what `reconciler plan` would print, and what it would print
again once that is done, until there is nothing left to do). `before.yaml`, if there, holds
the manifests as they were a moment ago. `steps` in the world limits how far the story goes;
`failing` names destinations at which nothing succeeds, and `cancelled` runs that somebody ended.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from reconciler.desired.resolve import resolve
from reconciler.desired.state import Cancellation, Desired
from reconciler.ids import RunId
from reconciler.observed.state import Observed
from reconciler.plan.actions import Action
from reconciler.plan.explain import text_of
from reconciler.plan.planner import plan
from reconciler.sources.documents import parse_file

sys.path.insert(0, str(Path(__file__).parents[1] / "property"))
from effects import apply
from worlds import instant, observed_of

STORIES = sorted(path for path in (Path(__file__).parent / "stories").iterdir() if path.is_dir())
STEPS_MAX = 20


def manifests(story: Path) -> Desired:
    before = story / "before.yaml"
    good = None
    if before.exists():
        good = resolve([parse_file("desired.yaml", before.read_bytes())]).good
    return resolve(
        [parse_file("desired.yaml", (story / "desired.yaml").read_bytes())], good
    ).desired


def world_tree(story: Path) -> Mapping[str, Any]:
    tree: Mapping[str, Any] = YAML(typ="safe", pure=True).load(story / "world.yaml")
    return tree


def fails(action: Action, tree: Mapping[str, Any]) -> bool:
    """Say whether an action goes where nothing succeeds."""
    return getattr(action, "remote", None) in tree.get("failing", ())


def cancellation_of(told: str | Mapping[str, Any]) -> Cancellation:
    """Read `<run>`, or `{run: <run>, at: <when it was said>}`."""
    if isinstance(told, str):
        return Cancellation(RunId(told))
    return Cancellation(RunId(told["run"]), instant(told["at"]))


def tell(desired: Desired, observed: Observed, tree: Mapping[str, Any]) -> str:
    """Tell a story: plan, do all of it, plan again, until nothing is left to do."""
    now = instant(tree["now"])
    cancelled = tuple(cancellation_of(told) for told in tree.get("cancelled", ()))
    desired = replace(desired, cancellations=cancelled)
    parts = [tree["story"].strip() + "\n", f"It is {now:%A %Y-%m-%d %H:%M:%S} UTC.\n"]
    for step in range(tree.get("steps", STEPS_MAX)):
        if step:
            now += timedelta(minutes=1)
            parts.append("── once that is done " + "─" * 60 + "\n")
        planned = plan(desired, observed, now)
        parts.append(text_of(planned, desired, observed))
        possible = [action for action in planned.actions if not fails(action, tree)]
        if not possible:
            return "\n".join(parts)
        for action in possible:
            observed = apply(action, observed, now)
    assert "steps" in tree, "the story does not end"
    return "\n".join(parts)


@pytest.mark.parametrize("story", STORIES, ids=lambda path: path.name)
def test_story(story: Path, golden: Callable[[Path, str], None]) -> None:
    desired = manifests(story)
    tree = world_tree(story)
    golden(story / "plan.txt", tell(desired, observed_of(tree, desired), tree))
