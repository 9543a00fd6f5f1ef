"""What is packed comes out as it went in, whichever action it is; what is no parcel is refused."""

import json
from datetime import UTC, datetime
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.desired.state import Desired, Pool, Remote, Settings
from reconciler.executor.parcel import NoParcel, Parcel, from_text, pack, to_text
from reconciler.plan.actions import Action

st.register_type_strategy(datetime, st.datetimes(timezones=st.just(UTC)))
ACTIONS = st.one_of([st.from_type(kind) for kind in get_args(Action)])
PARCELS = st.builds(
    Parcel,
    actions=st.lists(ACTIONS, min_size=1, max_size=3).map(tuple),
    pools=st.lists(st.from_type(Pool), max_size=2).map(tuple),
    remotes=st.lists(st.from_type(Remote), max_size=2).map(tuple),
    settings=st.none() | st.from_type(Settings),
)


@settings(max_examples=30)  # to draw from whole unions takes most of the time
@given(PARCELS)
def test_what_is_packed_comes_out_as_it_went_in(parcel: Parcel) -> None:
    assert from_text(to_text(parcel)) == parcel


@settings(max_examples=30)
@given(PARCELS, st.data())
def test_a_parcel_that_was_tampered_with_is_refused_or_means_something_else(
    parcel: Parcel, data: st.DataObject
) -> None:
    text = to_text(parcel)
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.characters(codec="ascii")) + text[at + 1 :]
    try:
        opened = from_text(changed)
    except NoParcel:
        return
    assert json.loads(to_text(opened)) == json.loads(changed)


@pytest.mark.parametrize("text", ["", "[]", "null", '{"format": 2}', '{"format": 1}', "{"])
def test_what_is_no_parcel_is_refused(text: str) -> None:
    with pytest.raises(NoParcel):
        from_text(text)


def test_fields_of_a_later_version_are_refused() -> None:
    remote = {"action": "Export", "fields": {"unheard-of": 1}}
    content = {"format": 1, "actions": [remote], "pools": [], "remotes": [], "settings": None}
    with pytest.raises(NoParcel):
        from_text(json.dumps(content))


@settings(max_examples=15)
@given(
    st.lists(ACTIONS, min_size=1, max_size=3),
    st.lists(st.from_type(Pool), max_size=3),
    st.lists(st.from_type(Remote), max_size=3),
)
def test_only_what_is_touched_is_packed(
    actions: list[Action], pools: list[Pool], remotes: list[Remote]
) -> None:
    desired = Desired(
        pools={each.name: each for each in pools}, remotes={each.name: each for each in remotes}
    )
    parcel = pack(actions, desired)
    touched = {
        getattr(action, place, None)
        for action in actions
        for place in ("pool", "target_pool", "remote")
    }
    assert {each.name for each in parcel.pools} == desired.pools.keys() & touched
    assert {each.name for each in parcel.remotes} == desired.remotes.keys() & touched
    assert parcel.settings is None
