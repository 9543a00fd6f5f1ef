"""These ids lie on people's remotes: a change of one of them orphans restore points."""

from reconciler.desired.document import Identity
from reconciler.desired.identities import job_id, schedule_id
from reconciler.ids import UUID, JobId

PINNED = "5b0f5f6e-8a54-4f0e-9d58-2a3c6f4f7e11"


def test_ids_are_frozen() -> None:
    nightly = job_id(Identity("BackupJob", "default", "nightly"), None)
    assert nightly == "fbd8e272-fa34-5969-b15e-01aee41da63a"
    assert schedule_id(nightly, "night", None) == "10a96972-289e-5f28-9482-73d7aaa207c8"
    assert (
        job_id(Identity("BackupJob", "backups", "nightly"), None)
        == "a1734d05-3a14-53e1-826e-98ca1daf723b"
    )


def test_a_pinned_id_is_the_id() -> None:
    assert job_id(Identity("BackupJob", "default", "nightly"), PINNED) == PINNED
    assert schedule_id(JobId(PINNED), "night", PINNED) == PINNED


def test_a_job_renamed_under_its_id_keeps_its_schedules() -> None:
    before, after = (job_id(Identity("BackupJob", "default", name), PINNED) for name in "ab")
    assert schedule_id(before, "night", None) == schedule_id(after, "night", None)


def test_ids_are_uuids_and_tell_namespaces_apart() -> None:
    ids = {job_id(Identity("BackupJob", space, name), None) for space in "ab" for name in "ab"}
    assert len(ids) == 4
    assert all(UUID.fullmatch(one) for one in ids)
