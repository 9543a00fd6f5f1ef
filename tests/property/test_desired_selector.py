"""Laws of the selector: every field narrows, exclusion wins, no name breaks it."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from reconciler.desired.selector import Selector

uuids = st.sampled_from(["u1", "u2", "u3"])
names = st.one_of(st.sampled_from(["web-1", "web-2", "db-1", "DB-1"]), st.text(max_size=8))
tags = st.sampled_from(["prod", "test", "xo:no-bak", "xo:no-bak=why", "xo:no-backup"])
states = st.sampled_from(["Running", "Halted"])
patterns = st.one_of(st.sampled_from(["web-*", "*-1", "db-?", "[wd]*", "*"]), st.text(max_size=6))
selectors = st.builds(
    Selector,
    uuids=st.frozensets(uuids, max_size=2),
    names=st.lists(patterns, max_size=2).map(tuple),
    tags=st.frozensets(tags, max_size=2),
    power_states=st.frozensets(states, max_size=1),
    exclude_uuids=st.frozensets(uuids, max_size=1),
    exclude_names=st.lists(patterns, max_size=1).map(tuple),
    exclude_tags=st.frozensets(tags, max_size=1),
    all=st.booleans(),
)
machines = st.tuples(uuids, names, st.frozensets(tags, max_size=2), states)
Machine = tuple[str, str, frozenset[str], str]


@given(selectors, machines)
def test_what_is_excluded_is_never_chosen(selector: Selector, machine: Machine) -> None:
    uuid, _, owned, _ = machine
    if uuid in selector.exclude_uuids or owned & selector.exclude_tags:
        assert not selector.matches(*machine)


@given(selectors, machines)
def test_a_declined_backup_is_made_only_by_uuid(selector: Selector, machine: Machine) -> None:
    uuid, _, owned, _ = machine
    if owned & {"xo:no-bak", "xo:no-bak=why"} and uuid not in selector.uuids:
        assert not selector.matches(*machine)


@given(selectors, machines, st.frozensets(states, min_size=1, max_size=1))
def test_one_more_field_chooses_no_more(
    selector: Selector, machine: Machine, given_states: frozenset[str]
) -> None:
    if selector.power_states or not selector.matches(*machine):
        return
    narrowed = replace(selector, power_states=given_states)
    assert narrowed.matches(*machine) == (machine[3] in given_states)


@given(machines, patterns)
def test_nothing_chooses_nothing(machine: Machine, pattern: str) -> None:
    assert not Selector().matches(*machine)
    assert not Selector(exclude_names=(pattern,)).matches(*machine)
