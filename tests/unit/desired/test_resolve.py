"""Several manifests together: references, clashes, last good versions and what is protected."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.desired.document import Identity
from reconciler.desired.identities import job_id
from reconciler.desired.problems import PROBLEMS_MAX
from reconciler.desired.resolve import Resolution
from reconciler.desired.state import (
    Approval,
    Cancellation,
    Desired,
    JobMode,
    Look,
    PruneGuard,
    RunRequest,
    SrTarget,
)
from reconciler.ids import JobName, PoolName, RemoteName, run_id

Resolve = Callable[..., Resolution]

NIGHTLY = Identity("BackupJob", "default", "nightly")
NIGHTLY_ID = job_id(NIGHTLY, None)


def messages(desired: Desired) -> list[str]:
    return [f"{problem.object}: {problem.message}" for problem in desired.problems]


def test_a_whole_set(resolved: Resolve, pool: str, remote: str, job: str) -> None:
    desired = resolved(all="---".join((pool, remote, job))).desired
    assert desired.problems == desired.warnings == ()
    assert desired.protected_jobs == frozenset()
    nightly = desired.jobs[JobName("nightly")]
    assert nightly.id == NIGHTLY_ID
    assert nightly.pools == (PoolName("lab"),)
    assert nightly.remotes == (RemoteName("cellar"),)
    (night,) = nightly.schedules
    assert (night.schedule.cron, night.schedule.zone) == ("0 2 * * *", "UTC")
    assert night.retention.last == 7
    assert night.deadline == timedelta(hours=1)
    assert nightly.guard == PruneGuard()
    assert desired.pools[PoolName("lab")].password.env == "XCP_PASSWORD"
    assert desired.remotes[RemoteName("cellar")].path == "/srv/backups"


def test_files_may_come_in_any_order(resolved: Resolve, pool: str, remote: str, job: str) -> None:
    one = resolved(a=job, b=remote, c=pool).desired
    other = resolved(c=pool, b=remote, a=job).desired
    assert one == other
    assert one.problems == ()


def test_an_empty_set_is_fine(resolved: Resolve) -> None:
    assert resolved(a="# nothing yet\n").desired == Desired()


def test_every_fault_of_every_file_is_reported(
    resolved: Resolve, pool: str, remote: str, job: str
) -> None:
    desired = resolved(
        a=pool.replace("urls", "ulrs"),
        b=remote.replace("/srv", "srv"),
        c=job.replace("all", "al").replace("0 2", "0 99"),
    ).desired
    assert [problem.path for problem in desired.problems] == ["a.yaml", "b.yaml"] + ["c.yaml"] * 2


class TestReferences:
    def test_what_is_not_there_is_named_with_what_may_be_meant(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        desired = resolved(a=pool, b=remote, c=job.replace("name: cellar", "name: celar")).desired
        (problem,) = desired.problems
        assert problem.message == 'there is no BackupRemote "celar"'
        assert problem.hint == 'did you mean "cellar"?'
        assert (problem.path, problem.line, problem.column) == ("c.yaml", 8, 32)
        assert desired.jobs == {}
        assert desired.protected_jobs == {NIGHTLY_ID}

    def test_references_stay_within_a_namespace(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        desired = resolved(
            a=pool, b=remote, c=job.replace("{name: nightly}", "{name: nightly, namespace: erp}")
        ).desired
        assert messages(desired) == [
            'BackupJob/erp/nightly: there is no XenPool "lab"',
            'BackupJob/erp/nightly: there is no BackupRemote "cellar"',
        ]
        assert "namespace default" in desired.problems[0].hint

    def test_namespaces_keep_equal_names_apart(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        def moved(text: str) -> str:
            return text.replace("metadata: {", "metadata: {namespace: erp, ").replace(
                "/srv/backups", "/srv/erp"
            )

        texts = (pool, remote, job)
        desired = resolved(a="---".join(texts), b="---".join(map(moved, texts))).desired
        assert desired.problems == ()
        assert set(desired.jobs) == {"nightly", "erp/nightly"}
        assert desired.jobs[JobName("erp/nightly")].remotes == ("erp/cellar",)
        assert len({one.id for one in desired.jobs.values()}) == 2

    def test_a_faulty_remote_is_reported_once_and_not_by_each_job(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        desired = resolved(a=pool, b=remote.replace("path", "pth"), c=job).desired
        assert [problem.object for problem in desired.problems] == ["BackupRemote/cellar"]
        assert desired.jobs == {}
        assert desired.protected_jobs == {NIGHTLY_ID}

    def test_a_mistake_elsewhere_in_the_job_hides_none(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        text = job.replace("name: lab", "name: lob").replace("0 2", "0 99")
        assert len(resolved(a=pool, b=remote, c=text).desired.problems) == 2


class TestClashes:
    def test_an_object_declared_twice_is_not_in_force(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        desired = resolved(a=pool, b=remote, c=job, d=job.replace("last: 7", "last: 1")).desired
        assert messages(desired) == ["BackupJob/nightly: this object is declared twice"] * 2
        assert desired.problems[0].hint.startswith("it stands in d.yaml:2")
        assert desired.jobs == {}
        assert desired.protected_jobs == {NIGHTLY_ID}

    @pytest.mark.parametrize("other", ["/srv/backups", "/srv/backups/in/it", "/srv/backups/"])
    def test_remotes_must_not_share_directories(
        self, resolved: Resolve, remote: str, other: str
    ) -> None:
        second = remote.replace("cellar", "attic").replace("/srv/backups", other)
        desired = resolved(a=remote, b=second).desired
        assert len(desired.problems) == 2
        assert desired.remotes == {}

    def test_each_of_several_nested_remotes_is_reported(
        self, resolved: Resolve, remote: str
    ) -> None:
        texts = {
            name: remote.replace("cellar", name).replace("/srv/backups", path)
            for name, path in [("a", "/srv"), ("b", "/srv/b"), ("c", "/srv/c"), ("d", "/srv-d")]
        }
        desired = resolved(**texts).desired
        assert {problem.object[-1] for problem in desired.problems} == {"a", "b", "c"}
        assert set(desired.remotes) == {"d"}

    def test_two_jobs_with_one_id(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        pin = "spec:\n  jobId: 5b0f5f6e-8a54-4f0e-9d58-2a3c6f4f7e11"
        one = job.replace("spec:", pin)
        desired = resolved(a=pool, b=remote, c=one, d=one.replace("nightly", "other")).desired
        assert len(desired.problems) == 2
        assert desired.problems[0].source == "  jobId: 5b0f5f6e-8a54-4f0e-9d58-2a3c6f4f7e11"
        assert desired.jobs == {}
        assert "5b0f5f6e-8a54-4f0e-9d58-2a3c6f4f7e11" in desired.protected_jobs

    def test_two_schedules_with_one_id(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        pin = "scheduleId: 5b0f5f6e-8a54-4f0e-9d58-2a3c6f4f7e11"
        one = job.replace("name: night,", f"name: night, {pin},")
        desired = resolved(a=pool, b=remote, c=one, d=one.replace("nightly", "other")).desired
        assert [problem.message for problem in desired.problems] == [
            "schedule night of BackupJob/other has this id",
            "schedule night of BackupJob/nightly has this id",
        ]


class TestLastGoodVersion:
    @pytest.mark.parametrize(
        "broken",
        [
            "last: seven",
            "last: 7}\n  retention: {last: 3",
            "last: 7}}",
            'last: "7',
            "last: 7}\n\tx: {",
        ],
    )
    def test_stays_in_force_and_is_protected(
        self, resolved: Resolve, pool: str, remote: str, job: str, broken: str
    ) -> None:
        first = resolved(a=pool, b=remote, c=job)
        second = resolved(first.good, a=pool, b=remote, c=job.replace("last: 7", broken))
        assert second.desired.problems
        assert second.desired.jobs == first.desired.jobs
        assert NIGHTLY_ID in second.desired.protected_jobs
        third = resolved(second.good, a=pool, b=remote, c=job.replace("last: 7", "last: 3"))
        assert third.desired.problems == ()
        assert third.desired.protected_jobs == frozenset()
        assert third.desired.jobs[JobName("nightly")].schedules[0].retention.last == 3

    def test_stays_for_as_long_as_the_mistake_does(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        resolution = first = resolved(a=pool, b=remote, c=job)
        for _ in range(3):
            resolution = resolved(resolution.good, a=pool, b=remote, c=job.replace("all", "al"))
        assert resolution.desired.jobs == first.desired.jobs

    def test_of_objects_in_a_file_that_cannot_be_parsed_at_all(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        first = resolved(all="---".join((pool, remote, job)))
        second = resolved(first.good, all="\x00" * 20)
        assert second.desired.problems
        assert second.desired.jobs == first.desired.jobs
        assert second.desired.pools == first.desired.pools
        assert second.desired.remotes == first.desired.remotes
        assert NIGHTLY_ID in second.desired.protected_jobs

    def test_a_deleted_file_takes_its_objects_with_it(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        first = resolved(a=pool, b=remote, c=job)
        second = resolved(first.good, a=pool, b=remote)
        assert second.desired.jobs == {}
        assert second.desired.problems == ()
        assert second.desired.protected_jobs == frozenset()

    def test_a_renamed_file_changes_nothing(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        first = resolved(a=pool, b=remote, c=job)
        assert resolved(first.good, a=pool, b=remote, z=job).desired == first.desired

    def test_a_file_that_is_suddenly_empty_keeps_its_objects(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        first = resolved(a=pool, b=remote, c=job)
        second = resolved(first.good, a=pool, b=remote, c="")
        assert second.desired.jobs == first.desired.jobs
        assert "BackupJob/nightly" in second.desired.problems[0].message
        assert resolved(a=pool, b=remote, c="").desired.problems == ()

    def test_a_comment_in_place_of_an_object_removes_it(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        first = resolved(a=pool, b=remote, c=job)
        second = resolved(first.good, a=pool, b=remote, c="# gone for good\n")
        assert second.desired.jobs == {}

    def test_an_object_renamed_badly_is_not_an_object_deleted(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        first = resolved(a=pool, b=remote, c=job)
        second = resolved(first.good, a=pool, b=remote, c=job.replace("nightly", "Night ly"))
        assert second.desired.jobs == first.desired.jobs
        assert NIGHTLY_ID in second.desired.protected_jobs

    def test_a_dangling_target_falls_away_and_the_rest_goes_on(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        attic = remote.replace("cellar", "attic").replace("/srv/backups", "/mnt/attic")
        two = job.replace("{name: cellar}}]", "{name: cellar}}, {remoteRef: {name: attic}}]")
        first = resolved(a=pool, b=remote, c=attic, d=two)
        assert first.desired.jobs[JobName("nightly")].remotes == ("cellar", "attic")
        second = resolved(first.good, a=pool, b=remote, d=two)
        assert messages(second.desired) == ['BackupJob/nightly: there is no BackupRemote "attic"']
        assert second.desired.jobs[JobName("nightly")].remotes == ("cellar",)
        assert NIGHTLY_ID in second.desired.protected_jobs
        third = resolved(second.good, a=pool, b=remote, c=attic, d=two)
        assert third.desired == first.desired

    def test_a_schedule_goes_on_with_the_destinations_that_are_left(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        attic = remote.replace("cellar", "attic").replace("/srv/backups", "/mnt/attic")
        spare = pool.replace("lab", "spare")
        text = job.replace(
            "{name: cellar}}]",
            "{name: cellar}}, {remoteRef: {name: attic}},"
            " {name: warm, srRef: {name: fast, poolRef: {name: spare}}}]",
        ).replace(
            '[{name: night, cron: "0 2 * * *"}]',
            '[{name: night, cron: "@daily", targets: [cellar, attic]},'
            ' {name: week, cron: "@weekly", targets: [attic, warm]}, {name: all, cron: "@hourly"}]',
        )
        first = resolved(a=pool, b=remote, c=attic, d=spare, e=text)
        assert first.desired.problems == ()
        sr = SrTarget("fast", PoolName("spare"))
        second = resolved(first.good, a=pool, b=remote, e=text)
        assert messages(second.desired) == [
            'BackupJob/nightly: there is no BackupRemote "attic"',
            'BackupJob/nightly: there is no XenPool "spare"',
        ]
        nightly = second.desired.jobs[JobName("nightly")]
        assert nightly.destinations == ("cellar",)
        night, week, every = nightly.schedules
        assert (night.destinations, night.suspend) == (frozenset({"cellar"}), False)
        assert (week.destinations, week.suspend) == (frozenset(), True)
        assert (every.destinations, every.suspend) == (None, False)
        assert NIGHTLY_ID in second.desired.protected_jobs
        third = resolved(second.good, a=pool, b=remote, d=spare, e=text)
        week = third.desired.jobs[JobName("nightly")].schedules[1]
        assert (week.destinations, week.suspend) == (frozenset({sr}), False)
        fourth = resolved(third.good, a=pool, b=remote, c=attic, d=spare, e=text)
        assert fourth.desired == first.desired

    def test_a_faulty_pool_of_an_sr_protects_the_jobs_that_replicate_to_it(
        self, resolved: Resolve, pool: str, job: str
    ) -> None:
        text = job.replace("remoteRef: {name: cellar}", "srRef: {name: x, poolRef: {name: spare}}")
        spare = pool.replace("lab", "spare")
        first = resolved(a=pool, b=spare, c=text)
        assert first.desired.protected_jobs == frozenset()
        second = resolved(first.good, a=pool, b=spare.replace("urls", "ulrs"), c=text)
        assert second.desired.jobs == first.desired.jobs
        assert NIGHTLY_ID in second.desired.protected_jobs
        third = resolved(first.good, a=pool, c=text)
        assert third.desired.jobs == {}
        assert NIGHTLY_ID in third.desired.protected_jobs

    def test_snapshots_alone_need_no_destination(
        self, resolved: Resolve, pool: str, job: str
    ) -> None:
        text = job.replace("  targets: [{remoteRef: {name: cellar}}]\n", "  mode: Snapshot\n")
        desired = resolved(a=pool, b=text).desired
        assert desired.problems == desired.warnings == ()
        assert desired.jobs[JobName("nightly")].mode is JobMode.SNAPSHOT
        assert desired.jobs[JobName("nightly")].destinations == ()

    def test_a_job_without_a_remote_left_is_not_in_force(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        first = resolved(a=pool, b=remote, c=job)
        second = resolved(first.good, a=pool, c=job)
        assert second.desired.jobs == {}
        assert NIGHTLY_ID in second.desired.protected_jobs
        assert resolved(second.good, a=pool, b=remote, c=job).desired == first.desired

    def test_a_faulty_remote_protects_the_jobs_that_use_it(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        first = resolved(a=pool, b=remote, c=job)
        second = resolved(first.good, a=pool, b=remote.replace("path", "pth"), c=job)
        assert second.desired.remotes == first.desired.remotes
        assert second.desired.jobs == first.desired.jobs
        assert NIGHTLY_ID in second.desired.protected_jobs

    def test_a_new_version_that_clashes_gives_way_to_the_old_one(
        self, resolved: Resolve, remote: str
    ) -> None:
        attic = remote.replace("cellar", "attic").replace("/srv/backups", "/mnt/attic")
        first = resolved(a=remote, b=attic)
        moved = attic.replace("/mnt/attic", "/srv/backups/attic")
        second = resolved(first.good, a=remote, b=moved)
        assert second.desired.remotes == first.desired.remotes
        third = resolved(second.good, a=remote.replace("path", "pth"), b=moved)
        assert third.desired.remotes == first.desired.remotes

    @pytest.mark.parametrize("rest", ["  x: [", "  daily: 7", "- y"])
    def test_a_document_torn_in_two_is_not_a_shorter_document(
        self, resolved: Resolve, pool: str, remote: str, job: str, rest: str
    ) -> None:
        text = job.replace("{last: 7}", "\n    last: 3\n    weekly: 4")
        first = resolved(a=pool, b=remote, c=text)
        torn = text.replace("    weekly", f"---\n{rest}\n  weekly")
        second = resolved(first.good, a=pool, b=remote, c=torn)
        assert second.desired.problems
        assert second.desired.jobs == first.desired.jobs
        assert NIGHTLY_ID in second.desired.protected_jobs
        fresh = resolved(a=pool, b=remote, c=torn).desired
        assert JobName("nightly") in fresh.jobs
        assert fresh.protected_jobs == {NIGHTLY_ID}

    def test_of_a_broken_job_the_pinned_id_is_protected_even_when_never_seen_good(
        self, resolved: Resolve, job: str
    ) -> None:
        pinned = "5b0f5f6e-8a54-4f0e-9d58-2a3c6f4f7e11"
        text = job.replace("spec:", f"spec:\n  jobId: {pinned}")
        for broken in (text.replace("all", "al"), text.replace("last: 7}", "last: 7")):
            assert pinned in resolved(a=broken).desired.protected_jobs


class TestRetention:
    def test_of_the_job_goes_to_schedules_without_their_own(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        schedules = (
            '[{name: night, cron: "@daily", timeZone: Asia/Tokyo},'
            ' {name: week, cron: "@weekly", retention: {weekly: 4, within: 30d}}]'
        )
        text = job.replace('[{name: night, cron: "0 2 * * *"}]', schedules)
        night, week = resolved(a=pool, b=remote, c=text).desired.jobs[JobName("nightly")].schedules
        assert (night.retention.last, night.retention.zone) == (7, "Asia/Tokyo")
        assert (week.retention.last, week.retention.weekly) == (0, 4)
        assert week.retention.within == timedelta(days=30)

    def test_absent_keeps_everything_and_says_so(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        desired = resolved(a=pool, b=remote, c=job.replace("  retention: {last: 7}\n", "")).desired
        assert desired.problems == ()
        (warning,) = desired.warnings
        assert "every restore point" in warning.message
        assert desired.jobs[JobName("nightly")].schedules[0].retention.keeps_everything

    def test_unused_is_worth_a_word(
        self, resolved: Resolve, pool: str, remote: str, job: str
    ) -> None:
        text = job.replace('* * *"', '* * *", retention: {daily: 2}')
        desired = resolved(a=pool, b=remote, c=text).desired
        assert [one.message for one in desired.warnings] == [
            "spec.retention is not used: every schedule has its own"
        ]


def test_full_points_that_no_target_counts_are_worth_a_word(
    resolved: Resolve, pool: str, remote: str, job: str
) -> None:
    text = f"{job}  settings: {{keyBackupEvery: 7}}\n"
    assert resolved(a=pool, b=remote, c=text).desired.warnings == ()
    replicas = text.replace("remoteRef: {name: cellar}", "srRef: {name: replicas}")
    assert replicas != text
    (warning,) = resolved(a=pool, b=remote, c=replicas).desired.warnings
    assert "counts points on remotes" in warning.message


def test_requests_and_approvals_come_as_annotations(
    resolved: Resolve, pool: str, remote: str, job: str
) -> None:
    annotations = (
        'annotations: {backup.reconciler.io/run-at: "2026-01-01T03:00:00+01:00",'
        " backup.reconciler.io/approve-plan: 9f3c}"
    )
    text = job.replace("{name: nightly}", f"{{name: nightly, {annotations}}}")
    desired = resolved(a=pool, b=remote, c=text).desired
    assert desired.problems == ()
    assert desired.requests == (
        RunRequest(JobName("nightly"), datetime(2026, 1, 1, 2, tzinfo=UTC)),
    )
    assert desired.approvals == (Approval("9f3c"),)


def test_a_wish_to_look_again_is_for_all_that_a_job_names(
    resolved: Resolve, pool: str, remote: str, job: str
) -> None:
    wish = "annotations: {backup.reconciler.io/reconcile: now}"
    asked = {
        "a": pool.replace("{name: lab}", f"{{name: lab, {wish}}}"),
        "b": remote,
        "c": job.replace("{name: nightly}", f"{{name: nightly, {wish}}}"),
    }
    desired = resolved(**asked).desired
    (pool_name,), (remote_name,) = desired.pools, desired.remotes
    assert set(desired.looks) == {
        Look("now", frozenset({pool_name}), frozenset({remote_name})),
        Look("now", frozenset({pool_name})),
    }


def test_runs_are_cancelled_by_an_annotation(
    resolved: Resolve, pool: str, remote: str, job: str
) -> None:
    runs = "nightly/20260101T020000Z, nightly/20260102T020000Z"
    text = job.replace(
        "{name: nightly}",
        f'{{name: nightly, annotations: {{backup.reconciler.io/cancel: "{runs}"}}}}',
    )
    desired = resolved(a=pool, b=remote, c=text).desired
    assert desired.problems == ()
    slots = (datetime(2026, 1, day, 2, tzinfo=UTC) for day in (1, 2))
    assert desired.cancellations == tuple(
        Cancellation(run_id(JobName("nightly"), slot)) for slot in slots
    )


def test_the_revision_follows_the_meaning(
    resolved: Resolve, pool: str, remote: str, job: str
) -> None:
    def revision(text: str) -> str:
        return resolved(a=pool, b=remote, c=text).desired.jobs[JobName("nightly")].revision

    assert revision(job) == revision("# a comment\n" + job.replace("{last: 7}", "\n    last: 7"))
    assert revision(job) != revision(job.replace("last: 7", "last: 8"))


def test_very_many_mistakes_are_counted(resolved: Resolve) -> None:
    lines = "\n".join(f"x{number}: 1" for number in range(PROBLEMS_MAX + 100))
    problems = resolved(a=lines).desired.problems
    assert len(problems) == PROBLEMS_MAX + 1
    assert problems[-1].message.endswith("more mistakes in this file")
