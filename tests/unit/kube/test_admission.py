"""What is refused, what is warned of, and what is nobody's business."""

import pytest

from reconciler.desired.document import Identity
from reconciler.kube.admission import Change, Verdict, judge, unseen
from reconciler.kube.objects import Raw, identity_of
from reconciler.kube.shelf import Shelf, Shelved

GROUP = "backup.reconciler.io"
NEVER = {"schedules": [{"name": "leap", "cron": "0 0 31 2 *", "retention": {"last": 3}}]}
KEPT = {"schedules": [{"name": "night", "cron": "0 2 * * *", "retention": {"last": 3}}]}


def seen(*raws: Raw) -> Shelved:
    return Shelf().put({identity_of(raw): raw for raw in raws})


@pytest.fixture
def places(make_object) -> Shelved:
    return seen(make_object("XenPool", "lab"), make_object("BackupRemote", "cellar"))


@pytest.fixture
def good(make_object) -> Raw:
    return make_object("BackupJob", "nightly", spec=KEPT)


def said(verdict: Verdict) -> tuple[list[str], list[str]]:
    return [one.field for one in verdict.mistakes], [one.message for one in verdict.warnings]


def test_what_is_right_is_nothing_to_speak_of(places: Shelved, good: Raw) -> None:
    assert judge(Change(good), places) == Verdict()


@pytest.mark.parametrize("known", [True, False], ids=["with a picture", "without one"])
def test_what_stays_wrong_whatever_comes_is_refused(
    make_object, places: Shelved, known: bool
) -> None:
    wrong = make_object("BackupJob", "nightly", spec=NEVER)
    verdict = judge(Change(wrong), places if known else None)
    (mistake,) = verdict.mistakes
    assert (mistake.object, mistake.field) == ("BackupJob/nightly", "spec.schedules[0].cron")
    assert verdict.warnings == ()


def test_several_mistakes_are_said_at_once(make_object, places: Shelved) -> None:
    asked = {"annotations": {f"{GROUP}/run-at": "tomorrow", f"{GROUP}/cancel": "other/x"}}
    wrong = make_object("BackupJob", "nightly", spec=NEVER, metadata=asked)
    fields, _ = said(judge(Change(wrong), places))
    assert fields == [
        f"metadata.annotations.{GROUP}/cancel",
        f"metadata.annotations.{GROUP}/run-at",
        "spec.schedules[0].cron",
    ]


def test_what_is_not_there_yet_is_a_warning(make_object, good: Raw) -> None:
    verdict = judge(Change(good), seen(make_object("XenPool", "labs")))
    assert verdict.mistakes == ()
    assert [(one.field, one.message, one.hint) for one in verdict.warnings] == [
        (
            "spec.targets[0].remoteRef.name",
            'there is no BackupRemote "cellar"',
            "declare a BackupRemote of this name",
        ),
        ("spec.poolRefs[0].name", 'there is no XenPool "lab"', 'did you mean "labs"?'),
    ]


def test_what_cannot_be_known_is_not_said_to_be_missing(good: Raw) -> None:
    assert judge(Change(good), None) == Verdict()


def test_what_was_found_besides_is_there(make_object, good: Raw) -> None:
    nothing = seen()
    assert unseen(Change(good), nothing) == [
        Identity("BackupRemote", "default", "cellar"),
        Identity("XenPool", "default", "lab"),
    ]
    found = [make_object("XenPool", "lab"), make_object("BackupRemote", "cellar")]
    assert judge(Change(good), nothing, found) == Verdict()
    assert unseen(Change(good), seen(*found)) == []


def test_references_stay_within_their_namespace(make_object, good: Raw) -> None:
    elsewhere = [
        make_object(kind, name, namespace="shop")
        for kind, name in (("XenPool", "lab"), ("BackupRemote", "cellar"))
    ]
    verdict = judge(Change(good), seen(*elsewhere))
    assert ["namespace shop" in one.hint for one in verdict.warnings] == [True, True]


def test_a_place_that_is_taken_is_a_warning_because_the_other_may_be_about_to_go(
    make_object, places: Shelved
) -> None:
    renamed = make_object("BackupRemote", "basement")
    fields, warnings = said(judge(Change(renamed), places))
    assert fields == []
    assert warnings == ["the path is that of BackupRemote/cellar"]
    elsewhere = make_object("BackupRemote", "basement", namespace="shop")
    assert said(judge(Change(elsewhere), places))[1] == warnings


def test_an_id_that_another_job_has_is_a_warning(make_object, good: Raw, places: Shelved) -> None:
    pinned = {"jobId": "6b1d6a0e-9f0c-4c55-8a54-9d3cdd1f4f31"}
    first = make_object("BackupJob", "first", spec=KEPT | pinned)
    there = seen(first, make_object("XenPool", "lab"), make_object("BackupRemote", "cellar"))
    renamed = make_object("BackupJob", "second", spec=KEPT | pinned)
    fields, warnings = said(judge(Change(renamed), there))
    assert fields == []
    assert warnings == ["BackupJob/first has this id"]


def test_a_fault_of_another_object_is_no_fault_of_this_one(make_object, good: Raw) -> None:
    bad = make_object("BackupJob", "other", spec=NEVER)
    pool = make_object("XenPool", "lab", spec={"urls": ["nonsense"]})
    there = seen(bad, pool, make_object("BackupRemote", "cellar"))
    assert judge(Change(good), there) == Verdict()


def test_what_is_right_and_perhaps_not_meant_is_a_warning(make_object, places: Shelved) -> None:
    fields, (warning,) = said(judge(Change(make_object("BackupJob", "nightly")), places))
    assert fields == []
    assert "every restore point" in warning


# ── changes ──


def changed(raw: Raw, **metadata) -> Raw:
    return {**raw, "metadata": {**raw["metadata"], **metadata}}


def test_a_mistake_that_was_there_before_does_not_keep_others_from_being_mended(
    make_object, places: Shelved
) -> None:
    old = make_object("BackupJob", "nightly", spec=NEVER)
    new = make_object("BackupJob", "nightly", spec=NEVER | {"suspend": True})
    fields, warnings = said(judge(Change(new, old), places))
    assert fields == []
    assert len(warnings) == 1
    worse = changed(new, annotations={f"{GROUP}/run-at": "tomorrow"})
    assert said(judge(Change(worse, old), places))[0] == [f"metadata.annotations.{GROUP}/run-at"]
    mended = make_object("BackupJob", "nightly", spec=KEPT)
    assert judge(Change(mended, old), places) == Verdict()
    assert judge(Change(old, mended), places).mistakes


def test_what_touches_no_field_is_never_refused_for_what_stands_there(
    make_object, places: Shelved
) -> None:
    old = make_object("BackupJob", "nightly", spec=NEVER)
    for new in (
        {**old, "status": {"conditions": []}},
        changed(old, finalizers=[]),
        changed(old, labels={"team": "shop"}),
        changed(old, annotations={f"{GROUP}/reconcile": "1"}),
    ):
        assert judge(Change(new, old), places) == Verdict()


def test_an_annotation_that_is_a_mistake_is_refused(good: Raw, places: Shelved) -> None:
    asked = changed(good, annotations={f"{GROUP}/run-at": "tomorrow"})
    assert said(judge(Change(asked, good), places))[0] == [f"metadata.annotations.{GROUP}/run-at"]
    assert judge(Change(changed(asked, labels={"team": "shop"}), asked), places) == Verdict()


def test_what_is_leaving_or_over_asks_for_nothing(make_object, places: Shelved) -> None:
    old = make_object("BackupJob", "nightly", spec=KEPT)
    leaving = changed(
        make_object("BackupJob", "nightly", spec=NEVER), deletionTimestamp="2026-01-05T02:00:00Z"
    )
    assert judge(Change(leaving, old), places) == Verdict()
    run = {**make_object("BackupJob", "nightly"), "kind": "BackupRun", "spec": {"jobRef": {}}}
    assert judge(Change(run), places).mistakes
    over = {**run, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    assert judge(Change(over), places) == Verdict()


def test_what_only_the_operator_writes_is_not_judged(make_object, places: Shelved) -> None:
    protected = {**make_object("BackupJob", "nightly"), "kind": "ProtectedVM"}
    assert judge(Change(protected), places) == Verdict()
