"""Which modes go together at one place."""

from itertools import product

from reconciler.observed.progress import Mode


def test_modes_go_together_as_the_table_says() -> None:
    together = {(one, other) for one, other in product(Mode, Mode) if one.together_with(other)}
    assert together == {
        (Mode.READ, Mode.READ),
        (Mode.READ, Mode.APPEND),
        (Mode.APPEND, Mode.READ),
    }
