"""Lists and notices, in whatever order they come."""

import itertools
import random

import pytest

from reconciler.kube.objects import Raw, identity_of, version_of
from reconciler.kube.picture import Picture

PARTS = [("XenPool", None), ("BackupRemote", None)]


def whole(picture: Picture) -> Picture:
    for part in PARTS:
        picture.take_list(part, [], 0)
    return picture


def test_it_is_whole_once_every_part_was_listed(make_object) -> None:
    picture = Picture(PARTS)
    picture.take(make_object("XenPool", "lab"))
    picture.take_list(PARTS[0], [], 5)
    assert not picture.whole
    assert picture.take_list(PARTS[1], [], 5)  # that there is nothing is news
    assert picture.whole
    assert not picture.take_list(PARTS[1], [], 6)


def test_what_is_older_changes_nothing(make_object) -> None:
    picture = whole(Picture(PARTS))
    assert picture.take(make_object("XenPool", "lab", 3))
    assert not picture.take(make_object("XenPool", "lab", 3))
    assert not picture.take(make_object("XenPool", "lab", 2))
    (raw,) = picture.objects().values()
    assert version_of(raw) == 3


def test_what_is_gone_does_not_come_back_with_late_news(make_object) -> None:
    picture = whole(Picture(PARTS))
    picture.take(make_object("XenPool", "lab", 3))
    assert picture.take_gone(make_object("XenPool", "lab", 4))
    assert not picture.take(make_object("XenPool", "lab", 3))
    assert not picture.take_list(PARTS[0], [make_object("XenPool", "lab", 3)], 3)
    assert picture.objects() == {}
    assert picture.take(make_object("XenPool", "lab", 5))  # made anew


def test_a_list_takes_away_what_is_not_in_it_unless_that_is_newer(make_object) -> None:
    picture = whole(Picture(PARTS))
    old, new = make_object("XenPool", "old", 3), make_object("XenPool", "new", 9)
    other = make_object("BackupRemote", "other", 3)
    for raw in (old, new, other):
        picture.take(raw)
    assert picture.take_list(PARTS[0], [], 5)
    assert set(picture.objects()) == {identity_of(new), identity_of(other)}


def test_a_list_of_one_namespace_says_nothing_of_another(make_object) -> None:
    picture = Picture([("XenPool", "a"), ("XenPool", "b")])
    picture.take(make_object("XenPool", "lab", 1, namespace="b"))
    picture.take_list(("XenPool", "a"), [], 5)
    assert len(picture.objects()) == 1


def test_who_set_which_field_is_not_held(make_object) -> None:
    raw = make_object("XenPool", "lab", 3, metadata={"managedFields": [{"manager": "kubectl"}]})
    said = make_object("XenPool", "lab", 3)
    for held in (as_taken(raw), Picture(PARTS).as_held(raw)):
        assert held == said


def as_taken(raw: Raw) -> Raw:
    picture = Picture(PARTS)
    picture.take(raw)
    return picture.objects()[identity_of(raw)]


def test_what_is_held_is_held_once(make_object) -> None:
    picture = Picture(PARTS)
    picture.take(make_object("XenPool", "lab", 3))
    (held,) = picture.objects().values()
    assert picture.as_held(make_object("XenPool", "lab", 3)) is held
    newer = make_object("XenPool", "lab", 4)
    assert picture.as_held(newer) == newer


def test_what_the_server_does_not_have_is_lost(make_object) -> None:
    picture = whole(Picture(PARTS))
    raw = make_object("XenPool", "lab", 3)
    picture.take(raw)
    assert picture.lose(identity_of(raw))
    assert not picture.lose(identity_of(raw))
    assert picture.objects() == {}


@pytest.mark.parametrize("seed", range(20))
def test_any_order_ends_in_the_same_picture(make_object, seed: int) -> None:
    """A history of two objects, told by notices and by a list of each moment, shuffled."""
    history: list[tuple[str, Raw]] = [
        ("put", make_object("XenPool", "a", 1)),
        ("put", make_object("XenPool", "b", 2)),
        ("put", make_object("XenPool", "a", 3)),
        ("gone", make_object("XenPool", "b", 4)),
        ("put", make_object("XenPool", "b", 5)),
        ("gone", make_object("XenPool", "a", 6)),
    ]
    there: dict[str, Raw] = {}
    lists = []
    for what, raw in history:
        name = raw["metadata"]["name"]
        there = {key: value for key, value in there.items() if key != name}
        there |= {name: raw} if what == "put" else {}
        lists.append((list(there.values()), version_of(raw)))
    told = [*history, *lists]
    random.Random(seed).shuffle(told)
    picture = Picture([("XenPool", None)])
    for one in told:
        match one:
            case ("put", raw):
                picture.take(raw)
            case ("gone", raw):
                picture.take_gone(raw)
            case (items, version):
                picture.take_list(("XenPool", None), items, version)
    picture.take_list(("XenPool", None), *lists[-1])
    assert {key.name: version_of(raw) for key, raw in picture.objects().items()} == {"b": 5}


def test_every_order_of_three_notices(make_object) -> None:
    first, gone = make_object("XenPool", "a", 1), make_object("XenPool", "a", 2)
    anew = make_object("XenPool", "a", 3)
    for order in itertools.permutations(("first", "gone", "anew")):
        picture = Picture(PARTS)
        for one in order:
            match one:
                case "first":
                    picture.take(first)
                case "gone":
                    picture.take_gone(gone)
                case "anew":
                    picture.take(anew)
        assert [version_of(raw) for raw in picture.objects().values()] == [3]
