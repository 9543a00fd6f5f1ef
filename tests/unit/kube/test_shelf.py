"""Objects become a desired state, and mistakes leave the last good version in force."""

from reconciler.desired.document import Identity
from reconciler.kube.objects import Raw, identity_of
from reconciler.kube.shelf import Shelf

NIGHTLY = Identity("BackupJob", "default", "nightly")


def picture(*raws: Raw) -> dict[Identity, Raw]:
    return {identity_of(raw): raw for raw in raws}


def estate(make_object, version: int = 1, **job) -> dict[Identity, Raw]:
    return picture(
        make_object("XenPool", "lab"),
        make_object("BackupRemote", "cellar"),
        make_object("BackupJob", "nightly", version, **job),
    )


def test_objects_are_desired(make_object) -> None:
    shelved = Shelf().put(estate(make_object, generation=4))
    assert shelved.desired.problems == ()
    assert set(shelved.desired.jobs) == {"nightly"}
    assert shelved.read[NIGHTLY].generation == 4


def test_what_means_the_same_is_the_same_value(make_object) -> None:
    shelf = Shelf()
    first = shelf.put(estate(make_object))
    status = shelf.put(estate(make_object, 2, status={"free": "1Gi"}))
    spelled = shelf.put(estate(make_object, 3, generation=2, spec={"suspend": False}))
    assert first.desired is status.desired is spelled.desired
    assert spelled.read[NIGHTLY].generation == 2


def test_a_mistake_leaves_the_last_good_version_in_force_and_its_points_protected(
    make_object,
) -> None:
    shelf = Shelf()
    good = shelf.put(estate(make_object)).desired
    wrong = shelf.put(estate(make_object, 2, spec={"selector": {"matchTags": "prod"}})).desired
    assert wrong.jobs == good.jobs
    assert [problem.object for problem in wrong.problems] == ["BackupJob/nightly"]
    assert good.jobs["nightly"].id in wrong.protected_jobs
    mended = shelf.put(estate(make_object, 3)).desired
    assert mended == good


def test_a_deleted_job_is_gone_and_comes_back_as_the_same(make_object) -> None:
    shelf = Shelf()
    before = shelf.put(estate(make_object)).desired
    without = estate(make_object)
    del without[NIGHTLY]
    assert shelf.put(without).desired.jobs == {}
    anew = shelf.put(estate(make_object, 9, uid="another")).desired
    assert anew.jobs["nightly"].id == before.jobs["nightly"].id


def test_an_object_that_waits_for_a_finalizer_is_gone(make_object) -> None:
    leaving = {"metadata": {"deletionTimestamp": "2026-01-05T02:00:00Z"}}
    shelved = Shelf().put(estate(make_object, **leaving))
    assert shelved.desired.jobs == {}
    assert NIGHTLY not in shelved.read


def test_namespaces_are_apart(make_object) -> None:
    objects = picture(
        make_object("XenPool", "lab", namespace="shop"),
        make_object("BackupRemote", "cellar", namespace="shop"),
        make_object("BackupJob", "nightly", namespace="shop"),
        make_object("BackupJob", "nightly"),
    )
    desired = Shelf().put(objects).desired
    assert set(desired.jobs) == {"shop/nightly"}
    assert {problem.object for problem in desired.problems} == {"BackupJob/nightly"}
