import pytest

from reconciler.desired.selector import Selector

ONE = "6b1d6a0e-9f0c-4c55-8a54-9d3cdd1f4f31"
PROD = frozenset({"prod"})


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        (Selector(all=True), True),
        (Selector(), False),
        (Selector(uuids=frozenset({ONE})), True),
        (Selector(uuids=frozenset({"another"})), False),
        (Selector(names=("web-*",)), True),
        (Selector(names=("WEB-*",)), False),
        (Selector(names=("db-*", "web-?")), True),
        (Selector(tags=frozenset({"prod", "erp"})), True),
        (Selector(tags=frozenset({"erp"})), False),
        (Selector(power_states=frozenset({"Running"})), True),
        (Selector(power_states=frozenset({"Halted"})), False),
        (Selector(names=("web-*",), tags=frozenset({"erp"})), False),
        (Selector(names=("web-*",), tags=PROD), True),
        (Selector(all=True, power_states=frozenset({"Halted"})), False),
        (Selector(all=True, exclude_uuids=frozenset({ONE})), False),
        (Selector(all=True, exclude_names=("*-1",)), False),
        (Selector(all=True, exclude_tags=PROD), False),
        (Selector(uuids=frozenset({ONE}), exclude_tags=PROD), False),
    ],
)
def test_who_is_chosen(selector: Selector, chosen: bool) -> None:
    assert selector.matches(ONE, "web-1", PROD, "Running") is chosen


@pytest.mark.parametrize("tag", ["xo:no-bak", "xo:no-bak=Health Check", "xo:no-bak="])
def test_a_vm_that_declines_backups_is_left_out_unless_its_uuid_is_given(tag: str) -> None:
    tags = frozenset({tag, "prod"})
    assert not Selector(all=True).matches(ONE, "web-1", tags, "Running")
    assert not Selector(tags=PROD).matches(ONE, "web-1", tags, "Running")
    assert Selector(uuids=frozenset({ONE})).matches(ONE, "web-1", tags, "Running")


def test_a_tag_that_only_begins_alike_declines_nothing() -> None:
    assert Selector(all=True).matches(ONE, "web-1", frozenset({"xo:no-backup"}), "Running")


def test_a_name_that_is_a_catastrophe_for_patterns() -> None:
    selector = Selector(names=("*a" * 50 + "b",))
    assert not selector.matches(ONE, "a" * 4000, frozenset(), "Running")
