"""Actions whose bytes stop moving are ended; those that wait for a pool are not."""

import asyncio
from datetime import UTC, datetime

import pytest
from virtual_time import on_virtual_time

from reconciler.executor.refusal import Refused
from reconciler.executor.stalls import stall_watch
from reconciler.executor.transfers import Gauge
from reconciler.plan.actions import Prune
from reconciler.plan.reasons import Reason
from reconciler.remotes.pacing import Pacing, held_back

NOW = datetime(2026, 1, 5, 2, tzinfo=UTC)
STALL_S = 0.1


@pytest.fixture
def gauge(action: Prune) -> Gauge:
    return Gauge(action, NOW)


@on_virtual_time
async def test_a_silent_transfer_is_ended(gauge: Gauge) -> None:
    gauge.expect(100)
    with pytest.raises(Refused, match=r"no byte moved for 0\.1 s") as refused:
        async with stall_watch(gauge, STALL_S, Pacing()):
            gauge.advance(1)
            await asyncio.sleep(30)
    assert refused.value.reason is Reason.STALLED
    assert asyncio.current_task().cancelling() == 0


@on_virtual_time
async def test_one_that_moves_goes_on(gauge: Gauge) -> None:
    gauge.expect(100)
    async with stall_watch(gauge, STALL_S, Pacing()):
        for _ in range(20):
            gauge.advance(1)
            await asyncio.sleep(STALL_S / 5)


@on_virtual_time
async def test_one_that_is_held_to_a_rate_goes_on_and_is_watched_again_after_it(
    gauge: Gauge,
) -> None:
    gauge.expect(100)
    pacing = Pacing()
    held = False
    with pytest.raises(Refused):
        async with stall_watch(gauge, STALL_S, pacing):
            gauge.advance(1)
            with pacing.felt(), held_back():
                await asyncio.sleep(5 * STALL_S)
                held = True
            await asyncio.sleep(30)
    assert held


@pytest.mark.parametrize("moved", [0, 100])
@on_virtual_time
async def test_before_the_first_byte_and_after_the_last_nothing_is_stalled(
    gauge: Gauge, moved: int
) -> None:
    gauge.expect(100)
    gauge.advance(moved)
    async with stall_watch(gauge, STALL_S, Pacing()):
        await asyncio.sleep(5 * STALL_S)


@on_virtual_time
async def test_a_cancelled_action_is_not_called_stalled(gauge: Gauge) -> None:
    gauge.expect(100)
    gauge.advance(1)

    async def work() -> None:
        async with stall_watch(gauge, 30, Pacing()):
            await asyncio.sleep(30)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_errors_come_out_as_they_are(gauge: Gauge) -> None:
    with pytest.raises(KeyError):
        async with stall_watch(gauge, STALL_S, Pacing()):
            raise KeyError("x")
