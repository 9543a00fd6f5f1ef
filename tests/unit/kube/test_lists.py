"""How seldom lists are needed."""

from reconciler.kube.lists import rest_s


def test_lists_take_a_hundredth_of_the_time() -> None:
    assert rest_s(2.0, 60.0) == 200.0


def test_a_short_one_does_not_hurry() -> None:
    assert rest_s(0.01, 60.0) == 60.0


def test_however_long_one_takes_what_went_unnoticed_is_found_in_time() -> None:
    assert rest_s(100.0, 60.0) == 600.0
