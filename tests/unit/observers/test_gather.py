"""One picture of everything: observers come and go with what is desired."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime

from reconciler.desired.state import Desired, LocalPlace, Look, Pool, Remote, SecretRef
from reconciler.ids import PoolName, RemoteName, VmUuid
from reconciler.latest import Latest
from reconciler.observed.pool import PoolView
from reconciler.observed.progress import Place, PlaceKind, Progress
from reconciler.observed.remote import RemoteView
from reconciler.observed.unknown import Unknown
from reconciler.observers.gather import Gather

NOW = datetime(2026, 1, 5, 2, tzinfo=UTC)
LAB, CELLAR = PoolName("lab"), RemoteName("cellar")
VM = VmUuid("11111111-1111-4111-8111-111111111111")
POOL = Pool(name=LAB, urls=("http://127.0.0.1",), username="root", password=SecretRef(env="P"))
REMOTE = Remote(name=CELLAR, place=LocalPlace("/srv"))


class Scripted:
    """An observer that publishes one view and remembers how it was treated."""

    def __init__(self, settings: Pool | Remote, publish: Callable[[], None]) -> None:
        self.settings = settings
        self.publish = publish
        self.pokes: list[tuple[VmUuid, datetime]] = []
        self.looks = 0
        self.ended = asyncio.Event()

    def look(self) -> None:
        self.looks += 1

    async def run(self) -> None:
        self.publish()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    def poke(self, touched: Iterable[tuple[VmUuid, datetime]]) -> None:
        self.pokes.extend(touched)


async def test_observers_follow_what_is_desired() -> None:
    made: list[Scripted] = []

    def pool_observer(pool: Pool, publish: Callable[[PoolView | Unknown], None]) -> Scripted:
        unknown = Unknown(since=NOW, reason="PoolUnreachable", why="a test")
        made.append(Scripted(pool, lambda: publish(unknown)))
        return made[-1]

    def remote_observer(
        remote: Remote, publish: Callable[[RemoteView | Unknown], None]
    ) -> Scripted:
        view = RemoteView(remote.name, NOW, None, None)
        made.append(Scripted(remote, lambda: publish(view)))
        return made[-1]

    desired = Latest(Desired(pools={LAB: POOL}, remotes={CELLAR: REMOTE}))
    progress = Latest(Progress())
    gather = Gather(desired, progress, pool_observer, remote_observer)

    async def until(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(120):
            while not holds():  # noqa: ASYNC110
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        running = group.create_task(gather.run())
        await until(lambda: len(gather.observed.value.remotes) == 1)
        assert isinstance(gather.observed.value.pools[LAB], Unknown)

        place = Place(PlaceKind.REMOTE, CELLAR, VM)
        progress.put(Progress(touched={place: NOW}))
        await until(lambda: bool(made[1].pokes))
        assert made[1].pokes == [(VM, NOW)]
        assert made[0].pokes == []

        look = Look("1", remotes=frozenset({CELLAR}))
        for wish in (look, look, replace(look, token="2")):
            desired.put(replace(desired.value, looks=(wish,)))
            await until(lambda wish=wish: made[1].looks == int(wish.token))
        assert (made[0].looks, made[1].looks) == (0, 2), "once for each wish"

        place = Place(PlaceKind.SR, f"{LAB}/33333333-3333-4333-8333-333333333333", VM)
        progress.put(Progress(touched={place: NOW}))
        await until(lambda: bool(made[0].pokes))
        assert made[0].pokes == [(VM, NOW)], "what lies on an SR is seen by who sees its pool"

        desired.put(Desired(pools={LAB: replace(POOL, username="backup")}))
        await until(lambda: len(made) == 3 and made[0].ended.is_set() and made[1].ended.is_set())
        assert gather.observed.value.remotes == {}, "what is not desired is not seen any more"
        running.cancel()
