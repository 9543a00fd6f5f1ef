"""When a later look is news: for what decides something, and not for when, and how full."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from scenes import Scene, job, wanting

from reconciler.ids import PoolName, RemoteName, SrUuid, VmUuid
from reconciler.observed.looks import found_nothing_new
from reconciler.observed.pool import PoolView
from reconciler.observed.progress import Place, PlaceKind, Progress
from reconciler.observed.remote import RemoteView
from reconciler.observed.state import Observed
from reconciler.observed.unknown import Unknown

POINT = "{job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}"
EAST, NAS = PoolName("east"), RemoteName("nas")
LATER = timedelta(minutes=1)


@pytest.fixture
def seen() -> Observed:
    return Scene(
        wanting(job()),
        f"now: 2026-08-21 01:00:00\npools: {{east: {{vms: {{web: {{snapshots: [{POINT}]}}}},"
        f" srs: [fast]}}}}\nremotes: {{nas: {{vms: {{web: {{points: [{POINT}]}}}}}}}}\n",
    ).observed


def pool(observed: Observed) -> PoolView:
    view = observed.pools[EAST]
    assert isinstance(view, PoolView)
    return view


def remote(observed: Observed) -> RemoteView:
    view = observed.remotes[NAS]
    assert isinstance(view, RemoteView)
    return view


def with_pool(observed: Observed, **changes: object) -> Observed:
    return replace(observed, pools={EAST: replace(pool(observed), **changes)})  # type: ignore[arg-type]


def with_remote(observed: Observed, **changes: object) -> Observed:
    return replace(observed, remotes={NAS: replace(remote(observed), **changes)})  # type: ignore[arg-type]


def fuller(observed: Observed) -> dict[SrUuid, object]:
    srs = pool(observed).srs
    return {uuid: replace(sr, free_bytes=7, coalesce_backlog=3) for uuid, sr in srs.items()}


def read_again(observed: Observed) -> dict[VmUuid, object]:
    histories = remote(observed).histories.items()
    return {
        vm: replace(each, as_of=each.as_of + LATER)  # type: ignore[call-arg, union-attr]
        for vm, each in histories
    }


NO_NEWS: dict[str, Callable[[Observed], Observed]] = {
    "nothing": lambda seen: seen,
    "a pool, later": lambda seen: with_pool(seen, as_of=pool(seen).as_of + LATER),
    "a pool's space": lambda seen: with_pool(seen, srs=fuller(seen)),
    "a remote, later": lambda seen: with_remote(seen, as_of=remote(seen).as_of + LATER),
    "a remote's space": lambda seen: with_remote(seen, free_bytes=7, total_bytes=9),
    "a VM's files, later": lambda seen: with_remote(seen, histories=read_again(seen)),
}
NEWS: dict[str, Callable[[Observed], Observed]] = {
    "a pool's version": lambda seen: with_pool(seen, version="9"),
    "a VM that went": lambda seen: with_pool(seen, vms={}),
    "an SR that went": lambda seen: with_pool(seen, srs={}),
    "points that went": lambda seen: with_remote(seen, histories={}),
    "another remote": lambda seen: with_remote(seen, identity="another"),
    "a pool that is not seen": lambda seen: replace(
        seen, pools={EAST: Unknown(pool(seen).as_of, "PoolUnreachable", "refused")}
    ),
    "a pool that is not watched": lambda seen: replace(seen, pools={}),
    "a remote that is not watched": lambda seen: replace(seen, remotes={}),
}


@pytest.mark.parametrize("what", NO_NEWS)
def test_when_and_how_full_is_no_news(seen: Observed, what: str) -> None:
    assert found_nothing_new(seen, NO_NEWS[what](seen))


@pytest.mark.parametrize("what", NEWS)
def test_everything_else_is(seen: Observed, what: str) -> None:
    after = NEWS[what](seen)
    assert not found_nothing_new(seen, after)
    assert not found_nothing_new(after, seen)


def test_one_that_stays_out_of_sight_is_news_each_time(seen: Observed) -> None:
    unseen = NEWS["a pool that is not seen"]
    assert not found_nothing_new(unseen(seen), unseen(seen))


@pytest.mark.parametrize("what", ["a pool, later", "a remote, later"])
def test_what_our_hands_did_may_only_be_seen_now(seen: Observed, what: str) -> None:
    place = Place(PlaceKind.POOL, EAST, VmUuid("web"))
    after = NO_NEWS[what](seen)
    for at, nothing_new in ((LATER / 2, False), (-LATER, True)):
        touched = Progress(touched={place: pool(seen).as_of + at})
        assert found_nothing_new(replace(seen, progress=touched), after) is nothing_new
