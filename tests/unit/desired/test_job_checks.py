from collections.abc import Callable

import pytest

from reconciler.desired.document import Document
from reconciler.desired.job_checks import (
    NameRead,
    misfits,
    pool_references,
    remote_references,
    repeated_names,
    sr_pool_references,
    target_names,
    unknown_names,
)

Parse = Callable[[str], Document]


def test_names_are_read_as_far_as_they_can_be(document: Parse) -> None:
    parsed = document(
        "spec: {poolRefs: [{name: a}, {nme: b}, 7, {name: 8}], targets: [{remoteRef: {name: c}}]}"
    )
    assert pool_references(parsed) == [NameRead("a", ("spec", "poolRefs", 0, "name"))]
    assert remote_references(parsed) == [NameRead("c", ("spec", "targets", 0, "remoteRef", "name"))]


@pytest.mark.parametrize("text", ["spec: {poolRefs: 7}", "spec: 7", "x: y", "spec: {poolRefs: {}}"])
def test_there_are_no_names_where_there_is_no_list(document: Parse, text: str) -> None:
    assert pool_references(document(text)) == []
    assert list(repeated_names(document(text))) == []


def test_what_is_listed_twice_is_told_each_time(document: Parse) -> None:
    parsed = document("spec: {schedules: [{name: a}, {name: b}, {name: a}, {name: a}]}")
    findings = list(repeated_names(parsed))
    assert [finding.path[2] for finding in findings] == [2, 3]
    assert findings[0].hint == "spec.schedules[0] has it already"


def test_targets_are_called_as_they_say_or_like_what_they_point_to(document: Parse) -> None:
    parsed = document(
        "spec: {targets: [{name: a, remoteRef: {name: x}}, {remoteRef: {name: b}},"
        " {srRef: {name: c, poolRef: {name: p}}}, {srRef: {uuid: d}}, {}]}"
    )
    assert [read.name for read in target_names(parsed)] == ["a", "b", "c", "d"]
    assert [read.name for read in sr_pool_references(parsed)] == ["p"]


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ("{remoteRef: {name: a}}, {name: a, remoteRef: {name: b}}", '"a" is listed twice'),
        ("{remoteRef: {name: a}}, {name: b, remoteRef: {name: a}}", "the same place as"),
        ("{srRef: {name: a}}, {name: b, srRef: {name: a}}", "the same place as"),
        ("{srRef: {name: a}}, {name: b, srRef: {name: a, poolRef: {name: lab}}}", "the same place"),
        ("{srRef: {name: a}}, {name: b, srRef: {name: a, poolRef: {name: other}}}", ""),
        ("{remoteRef: {name: a}}, {name: b, srRef: {name: a}}", ""),
    ],
)
def test_a_place_is_a_target_once(document: Parse, targets: str, said: str) -> None:
    findings = list(
        repeated_names(document(f"spec: {{poolRefs: [{{name: lab}}], targets: [{targets}]}}"))
    )
    assert len(findings) == bool(said)
    assert all(said in one.message for one in findings)


def test_names_that_are_not_listed_are_told_with_what_may_be_meant(document: Parse) -> None:
    parsed = document(
        "spec: {poolRefs: [{name: lab}], selector: {pools: [lab, lob]},"
        " targets: [{remoteRef: {name: cellar}}, {name: far, remoteRef: {name: b}}],"
        " schedules: [{targets: [celar, far, far, b]}]}"
    )
    assert [(one.path, one.message, one.hint) for one in unknown_names(parsed)] == [
        (
            ("spec", "schedules", 0, "targets", 2),
            '"far" is listed twice in spec.schedules[0].targets',
            "spec.schedules[0].targets[1] has it already",
        ),
        (
            ("spec", "schedules", 0, "targets", 0),
            'there is no target "celar" in spec.targets',
            'did you mean "cellar"?',
        ),
        (
            ("spec", "schedules", 0, "targets", 3),
            'there is no target "b" in spec.targets',
            "targets here: cellar, far",
        ),
        (
            ("spec", "selector", "pools", 1),
            'there is no pool "lob" in spec.poolRefs',
            'did you mean "lab"?',
        ),
    ]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("mode: Snapshot", []),
        ("mode: Snapshot, targets: [{}]", ["no place in mode Snapshot"]),
        ("mode: Snapshot, settings: {compression: Zstd}", ["is for mode Full"]),
        ("mode: Full", ["spec.targets is missing"]),
        ("targets: []", ["spec.targets is empty"]),
        ("remotes: [x]", []),  # reported as an unknown field
        ("targets: 7", []),  # reported by its type
        ("mode: Full, targets: [{}], settings: {keyBackupEvery: 5}", ["is for mode Incremental"]),
        ("mode: Full, targets: [{}], settings: {keyBackupEvery: 0, compression: Gzip}", []),
        ("targets: [{}], settings: {compression: Gzip}", ["is for mode Full"]),
        ("mode: Snapshot, settings: {consistency: Memory}", []),
        ("targets: [{}], settings: {consistency: Offline}", []),
        ("targets: [{}], settings: {consistency: Memory}", ["memory stays on the pool"]),
        ("mode: Full, targets: [{}], settings: {consistency: Memory}", ["of mode Full has it"]),
        ("targets: [{}], settings: {compression: None}", []),
        ("mode: Fuller, settings: {compression: Gzip, keyBackupEvery: 3}", []),
        ("poolRefs: [{name: a}, {name: b}], targets: [{srRef: {uuid: x}}]", ["has several"]),
        ("poolRefs: [{name: a}, {name: b}], targets: [{srRef: {name: x}}]", []),
        (
            "poolRefs: [{name: a}, {name: b}], targets: [{srRef: {uuid: x, poolRef: {name: a}}}]",
            [],
        ),
    ],
)
def test_what_has_no_place_in_the_mode(document: Parse, spec: str, said: list[str]) -> None:
    findings = list(misfits(document(f"spec: {{{spec}}}")))
    assert len(findings) == len(said)
    assert all(text in one.message for text, one in zip(said, findings, strict=True))
