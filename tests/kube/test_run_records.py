"""Records of runs: as many as the job says, made once, and worth nothing but what they say."""

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from kube_estate import (
    JOB,
    PATIENCE_S,
    Estate,
    Working,
    credentials_of,
    until,
    working,
)

LIMITED = JOB + "  successfulRunsHistoryLimit: 2\n"
RUN_AT = "backup.reconciler.io/run-at"


def records(estate: Estate) -> list[str]:
    return sorted(each["metadata"]["name"] for each in estate.kubectl.json("get", "br")["items"])


async def run_again(estate: Estate) -> None:
    """Ask for a run, and wait for its point and its record."""
    before, known = len(estate.points), await asyncio.to_thread(records, estate)
    newest = estate.points[-1] if estate.points else ""
    # Points are named to the second: one of this second would answer for it already.
    await until(lambda: f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}" > newest)
    at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    await asyncio.to_thread(
        estate.kubectl, "annotate", "bj", "nightly", f"{RUN_AT}={at}", "--overwrite"
    )
    await until(lambda: len(estate.points) == before + 1)
    (record,) = await until(lambda: set(records(estate)) - set(known))
    await until(
        lambda: (
            estate.stands("br", record).get("state") == "Succeeded"
            if record in records(estate)
            else True
        )
    )


def chain_of(estate: Estate) -> tuple[str, int, int]:
    (said,) = estate.kubectl.json("get", "pvm")["items"]
    (chain,) = said["status"]["chains"]
    return chain["state"], chain["points"], chain["length"]


async def rests(estate: Estate, at_work: Working) -> None:
    """Nothing is made and removed by turns."""
    (web,) = estate.lab.call("VM.get_by_name_label", "web")
    async with asyncio.timeout(PATIENCE_S):
        await at_work.rest(lambda: estate.lab.call("VM.add_tags", web, uuid4().hex))


async def test_records_go_as_the_job_says_and_are_not_made_again(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = credentials_of(estate.kubectl, monkeypatch)
    async with working(credentials, estate.namespace.name, estate.root) as at_work:
        await asyncio.to_thread(estate.kubectl.apply, estate.places + LIMITED)
        (first,) = await until(lambda: records(estate))
        await asyncio.to_thread(estate.wait, "condition=Complete", f"br/{first}")
        for _ in range(3):
            await run_again(estate)
        await until(lambda: len(records(estate)) == 2)
        await rests(estate, at_work)
        kept = await asyncio.to_thread(records, estate)
        assert len(kept) == 2
        assert first not in kept

        await asyncio.to_thread(estate.kubectl.apply, LIMITED.replace("Limit: 2", "Limit: 1"))
        await until(lambda: records(estate) == kept[1:])
        await asyncio.to_thread(estate.kubectl, "delete", "br", "--all")
        await rests(estate, at_work)
        assert await asyncio.to_thread(records, estate) == []
        assert len(estate.points) == 4

        await run_again(estate)
        assert len(await asyncio.to_thread(records, estate)) == 1
        await until(lambda: chain_of(estate) == ("Ok", 5, 5))  # all of it, and deltas went on

    # Another operator, without any record and any history: what is there answers for itself.
    await asyncio.to_thread(estate.kubectl, "delete", "br", "--all")
    (estate.root / "history.sqlite").unlink()
    async with working(credentials, estate.namespace.name, estate.root) as at_work:
        await until(lambda: at_work.operator.reconciler is not None)
        await rests(estate, at_work)
        assert await asyncio.to_thread(records, estate) == []
        assert len(estate.points) == 5
