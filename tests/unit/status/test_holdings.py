"""What lies where: by job, destination and VM; what was not read is not nothing."""

from scenes import Scene, job, wanting
from worlds import sr_uuid, vm_uuid

from reconciler.ids import VmUuid
from reconciler.status.holdings import NOTHING, Spot, holdings_of

FIRST = "{job: nightly, at: 2026-08-19 02:00:05, schedules: [night]}"
SECOND = "{job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}"
BROKEN = SECOND.replace("}", ", broken: {root: it is cut short}}")
OTHER = "{job: weekly, at: 2026-08-20 03:00:05, schedules: [night]}"
NAS, CELLAR = Spot(remote="nas"), Spot(remote="cellar")
FAST = Spot(sr=f"east/{sr_uuid('east', 'fast')}")
WEB, DB, NEW = vm_uuid("web"), vm_uuid("db"), VmUuid("new")

WANTED = wanting(job(), job(name="weekly"))
SCENE = Scene(
    WANTED,
    f"""
now: 2026-08-21 02:10:00
pools:
  east:
    vms: {{web: {{}}, db: {{}}}}
    srs: [fast]
    replicas: [{{vm: web, sr: fast, job: nightly, at: 2026-08-20 02:00:05, schedules: [night]}}]
remotes:
  nas:
    vms:
      web: {{points: [{FIRST}, {SECOND}, {OTHER}]}}
      db: {{unknown: half of it is gone}}
  cellar: {{unknown: no answer}}
""",
)
NIGHTLY, WEEKLY = (WANTED.jobs[name].id for name in sorted(WANTED.jobs))


def test_each_jobs_points_are_counted_apart() -> None:
    found = holdings_of(SCENE.observed)
    mine, other = found.at(NIGHTLY, NAS, WEB), found.at(WEEKLY, NAS, WEB)
    assert mine is not None
    assert other is not None
    assert (mine.whole, mine.broken, str(mine.taken_at)) == (2, 0, "2026-08-20 02:00:05+00:00")
    assert mine.files == 2
    assert (other.whole, other.files) == (1, 1)


def test_what_was_not_seen_is_not_nothing() -> None:
    found = holdings_of(SCENE.observed)
    assert found.at(NIGHTLY, CELLAR, WEB) is None
    assert found.at(NIGHTLY, NAS, DB) is None
    assert found.at(NIGHTLY, NAS, NEW) == NOTHING
    assert found.seen[NAS] == {DB}


def test_replicas_lie_on_an_sr_of_a_pool() -> None:
    found = holdings_of(SCENE.observed)
    replica = found.at(NIGHTLY, FAST, WEB)
    assert replica is not None
    assert (replica.whole, replica.files) == (1, 1)
    assert found.at(WEEKLY, FAST, WEB) == NOTHING


def test_the_newest_point_that_counts_is_one_that_can_be_restored() -> None:
    broken = Scene(
        WANTED,
        f"""
now: 2026-08-21 02:10:00
pools: {{east: {{vms: {{web: {{}}}}}}}}
remotes: {{nas: {{vms: {{web: {{points: [{FIRST}, {BROKEN}]}}}}}}}}
""",
    )
    found = holdings_of(broken.observed).at(NIGHTLY, NAS, WEB)
    assert found is not None
    assert (found.whole, found.broken, str(found.taken_at)) == (1, 1, "2026-08-19 02:00:05+00:00")
