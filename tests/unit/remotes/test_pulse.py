import errno

import pytest

from reconciler.remotes import pulse
from reconciler.remotes.pulse import Pulse, felt


def test_it_says_what_was_begun_last():
    mine = Pulse()
    assert mine.since_s is None
    with felt(mine):
        pulse.begin("read", "a")
        first_s = mine.since_s
        pulse.begin("write", "b")
    assert (mine.what, mine.path) == ("write", "b")
    assert first_s is not None
    assert mine.since_s is not None
    assert mine.since_s >= first_s
    pulse.begin("read", "nobody feels it")
    assert mine.what == "write"


def test_given_up_it_begins_nothing_and_hands_nothing_over():
    mine = Pulse()
    with felt(mine):
        with mine.still_wanted():
            pass
        mine.give_up()
        with pytest.raises(OSError, match="given up") as raised:
            pulse.begin("rename", "b")
        assert raised.value.errno == errno.ECANCELED
        with pytest.raises(OSError, match="given up"), mine.still_wanted():
            raise AssertionError("handed over")
