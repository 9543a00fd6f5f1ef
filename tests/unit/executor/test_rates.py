"""Which rates hold for what: one for each pool and each job, as the manifests say now."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from reconciler.desired.state import Desired, Job, Pool, SecretRef, Settings
from reconciler.executor.rates import Rates
from reconciler.ids import JobId, JobName, PoolName, RemoteName, SnapshotUuid, Stamp, VmUuid
from reconciler.latest import Latest
from reconciler.plan.actions import CleanSnapshot, Export
from reconciler.plan.reasons import Reason

LAB, NIGHTLY = PoolName("lab"), JobName("nightly")
EXPORT = Export(
    pool=LAB,
    remote=RemoteName("cellar"),
    vm=VmUuid("11111111-1111-4111-8111-111111111111"),
    vm_name="web",
    job=NIGHTLY,
    job_id=JobId("33333333-3333-4333-8333-333333333333"),
    schedules=(),
    snapshot=SnapshotUuid("44444444-4444-4444-8444-444444444444"),
    stamp=Stamp("20260105T020000Z"),
    disks=(),
    due=datetime(2026, 1, 5, 2, tzinfo=UTC),
    reason=Reason.POINT_MISSING,
)


@pytest.fixture
def desired():
    return Latest(Desired())


def put(desired, pool_rate, job_rate):
    pool = Pool(LAB, ("https://lab",), "root", SecretRef(), rate_bytes_per_s=pool_rate)
    settings = Settings(rate_bytes_per_s=job_rate)
    job = Job(NIGHTLY, EXPORT.job_id, (LAB,), (), None, (), settings=settings)
    desired.put(Desired(pools={LAB: pool}, jobs={NIGHTLY: job}))


def limited(rates):
    return [rate.is_limited for rate in rates]


def test_they_follow_the_manifest(desired):
    rates = Rates(desired).of(EXPORT)
    assert limited(rates) == [False, False]  # nothing is desired any more
    put(desired, None, None)
    assert limited(rates) == [False, False]
    put(desired, 1 << 20, None)
    assert limited(rates) == [True, False]
    put(desired, None, 1 << 20)
    assert limited(rates) == [False, True]


def test_all_of_a_pool_share_one_and_all_of_a_job(desired):
    rates = Rates(desired)
    pool, job = rates.of(EXPORT)
    assert rates.of(replace(EXPORT, remote=RemoteName("attic"))) == (pool, job)
    other_pool, same_job = rates.of(replace(EXPORT, pool=PoolName("west")))
    same_pool, other_job = rates.of(replace(EXPORT, job=JobName("weekly")))
    assert (same_pool, same_job) == (pool, job)
    assert len({pool, job, other_pool, other_job}) == 4


def test_what_reads_nothing_is_held_to_nothing(desired):
    clean = object.__new__(CleanSnapshot)
    assert Rates(desired).of(clean) == ()
