"""Which modes go together at one place, and which of them changes it more."""

from itertools import combinations, product

from reconciler.observed.progress import Mode


def test_modes_go_together_as_the_table_says() -> None:
    together = {(one, other) for one, other in product(Mode, Mode) if one.together_with(other)}
    reading = {(Mode.READ, each) for each in (Mode.READ, Mode.PROVE, Mode.APPEND)}
    proving = {(Mode.PROVE, Mode.APPEND)}
    assert together == {
        pair for one, other in reading | proving for pair in ((one, other), (other, one))
    }


def test_modes_are_in_the_order_of_what_they_change() -> None:
    for less, more in combinations((Mode.READ, Mode.PROVE, Mode.APPEND, Mode.REWRITE), 2):
        assert more.changes_more_than(less)
        assert not less.changes_more_than(more)
    assert not any(mode.changes_more_than(mode) for mode in Mode)
