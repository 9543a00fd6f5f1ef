import asyncio
import contextlib
import copy
from contextlib import aclosing
from datetime import UTC, datetime

import pytest

from reconciler.clock import SteppedClock
from reconciler.xapi.errors import BadAnswer, Unreachable, XapiFailure
from reconciler.xapi.events import follow

CLASSES = {"VM": frozenset({"name_label"}), "VBD": None}


class World:
    """Objects with generations, and `event.from` over them, as XAPI has it."""

    def __init__(self, host, refuse):
        self.host = host
        self.refuse = refuse
        self.objects = {"pool": {"P": {}}, "VM": {}, "VBD": {}}
        self.generation = 10
        self.changed = {("pool", "P"): 10}
        self.gone = {}
        self.bell = asyncio.Event()
        self.polls = []
        self.polling = asyncio.Event()
        self.fail_next = None
        host.handlers["event.from"] = self.events
        for name in self.objects:
            host.handlers[f"{name}.get_all_records"] = lambda name=name: copy.deepcopy(
                self.objects[name]
            )

    def put(self, name, ref, **record):
        self.generation += 1
        self.objects[name][ref] = record
        self.changed[name, ref] = self.generation
        self._ring()

    def drop(self, name, ref, *, silently=False):
        self.generation += 1
        del self.objects[name][ref]
        born = self.changed.pop((name, ref))
        if not silently:
            self.gone[name, ref] = (born, self.generation)
        self._ring()

    def _ring(self):
        self.bell.set()
        self.bell = asyncio.Event()

    async def polled(self, count):
        while len(self.polls) < count:
            await self.polling.wait()

    async def events(self, classes, token, timeout):
        self.polls.append((tuple(classes), token, timeout))
        self.polling.set()
        self.polling = asyncio.Event()
        if self.fail_next is not None:
            code, self.fail_next = self.fail_next, None
            raise self.refuse(code)
        since = int(token or -1)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout or 0.001):
                while not self._since(classes, since):
                    await self.bell.wait()
        return {
            "events": self._since(classes, since),
            "token": f"{self.generation:020d}",
            "valid_ref_counts": {name.lower(): len(refs) for name, refs in self.objects.items()},
        }

    def _since(self, classes, since):
        wanted = {name.lower() for name in classes}
        found = [
            self._event(name, ref, "mod", self.objects[name][ref])
            for (name, ref), at in self.changed.items()
            if at > since and name.lower() in wanted
        ]
        found += [
            self._event(name, ref, "del", None)
            for (name, ref), (born, at) in self.gone.items()
            if born <= since < at and name.lower() in wanted
        ]
        return found

    def _event(self, name, ref, operation, record):
        event = {"class": name.lower(), "ref": ref, "operation": operation, "id": "1"}
        return event if record is None else {**event, "snapshot": record}


@pytest.fixture
async def world(host, refuse):
    world = World(host, refuse)
    world.put("VM", "A", name_label="a", memory="1")
    return world


@pytest.fixture
def clock():
    return SteppedClock(datetime(2026, 1, 1, tzinfo=UTC))


def seen(batch):
    return {(change.class_name, change.ref): change.record for change in batch.changes}


async def test_first_everything_then_changes(world, client, clock):
    world.put("VBD", "B", VM="A")
    async with aclosing(follow(client, CLASSES, clock, pause_s=0).batches()) as batches:
        batch = await anext(batches)
        assert batch.whole
        assert seen(batch) == {("VM", "A"): {"name_label": "a"}, ("VBD", "B"): {"VM": "A"}}

        world.put("VM", "A", name_label="b")
        batch = await anext(batches)
        assert not batch.whole
        assert seen(batch) == {("VM", "A"): {"name_label": "b"}}

        world.drop("VBD", "B")
        assert seen(await anext(batches)) == {("VBD", "B"): None}


async def test_nothing_is_changed_by_looking(world, client, clock):
    async with aclosing(follow(client, CLASSES, clock, pause_s=0).batches()) as batches:
        await anext(batches)
    methods = {name for name, _ in world.host.calls}
    assert methods <= {
        "session.login_with_password",
        "host.get_all_records",
        "event.from",
        "VM.get_all_records",
        "VBD.get_all_records",
    }


async def test_what_changes_during_the_listing_is_in_it(world, client, clock):
    def late():
        world.put("VM", "C", name_label="c")
        world.drop("VM", "A")
        return {}

    world.host.handlers["VBD.get_all_records"] = late
    async with aclosing(follow(client, CLASSES, clock, pause_s=0).batches()) as batches:
        assert seen(await anext(batches)) == {("VM", "C"): {"name_label": "c"}}


async def test_as_of_is_before_the_poll_that_answers(world, client, clock):
    async with aclosing(follow(client, CLASSES, clock, pause_s=0).batches()) as batches:
        first = await anext(batches)
        between = clock.now()
        assert first.as_of < between
        world.put("VM", "A", name_label="b")
        second = await anext(batches)
        assert first.as_of < between < second.as_of < clock.now()


async def test_a_quiet_poll_still_says_as_of_when(world, client, clock):
    follower = follow(client, CLASSES, clock, poll_s=0.01, pause_s=0)
    async with aclosing(follower.batches()) as batches:
        await anext(batches)
        before = clock.now()
        batch = await anext(batches)
        assert batch.changes == ()
        assert batch.as_of > before


async def test_a_poke_cuts_the_running_poll_short(world, client, clock):
    follower = follow(client, CLASSES, clock, poll_s=30, pause_s=0)
    async with aclosing(follower.batches()) as batches:
        await anext(batches)
        waiting = asyncio.create_task(anext(batches))
        await world.polled(3)
        poked_at = clock.now()
        follower.poke()
        async with asyncio.timeout(120):
            batch = await waiting
        assert batch.as_of > poked_at
        assert [poll[2] for poll in world.polls[-2:]] == [30, 0.0]
        assert world.polls[-1][1] == world.polls[-2][1], "the same token"


async def test_a_poke_between_two_polls_is_not_lost(world, client, clock):
    follower = follow(client, CLASSES, clock, poll_s=30, pause_s=30)
    async with aclosing(follower.batches()) as batches:
        await anext(batches)
        follower.poke()
        async with asyncio.timeout(120):
            await anext(batches)


async def test_pokes_lose_no_change(world, client, clock):
    follower = follow(client, CLASSES, clock, poll_s=30, pause_s=0)
    names = {}

    async def churn():
        for count in range(60):
            world.put("VM", f"V{count % 7}", name_label=str(count))
            follower.poke()
            await asyncio.sleep(0.001 * (count % 3))
        world.put("VM", "end", name_label="end")
        follower.poke()

    async with aclosing(follower.batches()) as batches, asyncio.timeout(120):
        await anext(batches)
        churning = asyncio.create_task(churn())
        while "end" not in names:
            for change in (await anext(batches)).changes:
                names[change.ref] = change.record["name_label"]
        await churning
    latest = {ref: record["name_label"] for ref, record in world.objects["VM"].items()}
    assert names == {ref: name for ref, name in latest.items() if ref != "A"}


@pytest.mark.parametrize(
    "code", ["EVENTS_LOST", "EVENT_FROM_TOKEN_PARSE_FAILURE", "SESSION_INVALID", "HANDLE_INVALID"]
)
async def test_a_gap_leads_to_everything_anew(world, client, clock, code):
    async with aclosing(follow(client, CLASSES, clock, pause_s=0).batches()) as batches:
        await anext(batches)
        world.fail_next = code
        world.put("VM", "B", name_label="b")
        batch = await anext(batches)
        assert batch.whole
        assert {ref for _, ref in seen(batch)} == {"A", "B"}


async def test_a_login_by_somebody_else_leads_to_everything_anew(world, client, clock):
    follower = follow(client, CLASSES, clock, poll_s=0.05, pause_s=0)
    async with aclosing(follower.batches()) as batches:
        await anext(batches)
        world.drop("VM", "A", silently=True)  # as over a restart: deletions are forgotten
        world.put("VM", "B", name_label="b")
        client.drop(await client.session())
        await client.session()
        batch = await anext(batches)
        assert batch.whole
        assert {ref for _, ref in seen(batch)} == {"B"}


async def test_an_object_that_vanished_without_a_word_is_missed(world, client, clock):
    follower = follow(client, CLASSES, clock, poll_s=0.01, pause_s=0)
    async with aclosing(follower.batches()) as batches:
        await anext(batches)
        world.drop("VM", "A", silently=True)
        batch = await anext(batches)
        assert batch.whole
        assert batch.changes == ()


async def test_counts_that_never_come_right_are_left_alone(world, client, clock):
    usual = world.host.handlers["event.from"]

    async def miscounted(*args):
        answer = await usual(*args)
        answer["valid_ref_counts"]["vm"] += 1
        return answer

    world.host.handlers["event.from"] = miscounted
    follower = follow(client, CLASSES, clock, poll_s=0.01, pause_s=0)
    async with aclosing(follower.batches()) as batches:
        assert (await anext(batches)).whole
        assert not (await anext(batches)).whole


async def test_counts_that_jump_about_end_in_being_left_alone(world, client, clock):
    usual = world.host.handlers["event.from"]
    flip = iter(range(10**9))

    async def miscounted(classes, *args):
        answer = await usual(classes, *args)
        answer["valid_ref_counts"]["vm"] += next(flip) % 3
        return answer

    world.host.handlers["event.from"] = miscounted
    follower = follow(client, CLASSES, clock, poll_s=0.005, pause_s=0)
    wholes = 0
    async with aclosing(follower.batches()) as batches, asyncio.timeout(120):
        for _ in range(40):
            wholes += (await anext(batches)).whole
    assert wholes < 10


async def test_gaps_without_end_are_an_error(world, client, clock, refuse):
    async def lost(classes, *_):
        if classes != ["pool"]:
            raise refuse("EVENTS_LOST")
        return {"events": [], "token": "1", "valid_ref_counts": {}}

    world.host.handlers["event.from"] = lost
    with pytest.raises(BadAnswer, match="cannot be followed"):
        async with aclosing(follow(client, CLASSES, clock, pause_s=0).batches()) as batches:
            await anext(batches)


async def test_a_pool_that_is_gone_is_said(world, client, clock, hangup):
    async def die(*_):
        raise hangup

    async with aclosing(follow(client, CLASSES, clock, pause_s=0).batches()) as batches:
        await anext(batches)
        world.host.handlers["event.from"] = die
        with pytest.raises(Unreachable):
            await anext(batches)


async def test_another_failure_is_raised(world, client, clock, refuse):
    def refusal(*_):
        raise refuse("RBAC_PERMISSION_DENIED", "vm/get_all_records", "no")

    world.host.handlers["VM.get_all_records"] = refusal
    with pytest.raises(XapiFailure, match="RBAC"):
        async with aclosing(follow(client, CLASSES, clock, pause_s=0).batches()) as batches:
            await anext(batches)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        [],
        {},
        {"token": 3, "events": []},
        {"token": "1", "events": 3},
        {"token": "1", "events": [3]},
        {"token": "1", "events": [{"class": 1, "ref": 2}]},
        {"token": "", "events": []},
    ],
)
async def test_a_malformed_answer_is_an_error(world, client, clock, answer):
    world.host.handlers["event.from"] = lambda *_: answer
    with pytest.raises(BadAnswer):
        async with aclosing(follow(client, CLASSES, clock, pause_s=0).batches()) as batches:
            await anext(batches)


async def test_a_record_that_is_none_has_no_fields(world, client, clock):
    world.objects["VM"]["A"] = "text"
    async with aclosing(follow(client, CLASSES, clock, pause_s=0).batches()) as batches:
        assert seen(await anext(batches)) == {("VM", "A"): {}}
