"""Whatever stands in a file: an answer, never an exception; nothing lost; no secret shown."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.desired.document import ManifestFile
from reconciler.desired.resolve import Resolution, resolve
from reconciler.sources.documents import parse_file
from reconciler.sources.render import render_all

CANARY = "hunter2"
POOL = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: XenPool
metadata: {name: lab}
spec: {urls: [https://xcp1.example.net], passwordFrom: {env: XCP_PASSWORD}}
"""
REMOTE = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupRemote
metadata: {name: cellar}
spec: {local: {path: /srv/backups}}
"""
JOB = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: BackupJob
metadata:
  name: nightly
  labels: {team: "finance"}
spec:
  poolRefs: [{name: lab}]
  selector:
    matchTags: &tags
      - prod
    excludeTags: ['test', "old"]
  targets:
    - remoteRef: {name: cellar}
  schedules:
    - name: night
      cron: "0 2 * * *"
      timeZone: Europe/Paris
      retention: {last: 7, weekly: 4, within: 30d}
  settings: {keyBackupEvery: 20}  # a comment
"""
SECRET_POOL = f"""\
apiVersion: backup.reconciler.io/v1alpha1
kind: XenPool
metadata: {{name: lab}}
spec:
  urls: [https://xcp1.example.net]
  username: root
  password: "{CANARY}"
  passwordFrom: {{env: XCP_PASSWORD}}
"""

pieces = st.one_of(
    st.sampled_from(
        [*list("{}[]:,-#&*!|>'\"%@`\t\n \\?"), "---\n", "\n- ", ": ", "<<: *tags", "~"]
    ),
    st.characters(),
    st.sampled_from(["\x00", "\ufeff", "\u2028", "\x85", "é", "日本", "yes", "0x10", "!!set"]),
)
edits = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), pieces), min_size=1, max_size=4)


def edited(text: str, changes: list[tuple[float, int, str]]) -> str:
    for place, removed, piece in changes:
        start = int(place * len(text))
        text = text[:start] + piece + text[start + removed :]
    return text


def read(path: str, text: str) -> ManifestFile:
    return parse_file(path, text.encode("utf-8", "replace"))


GOOD = [read("pool.yaml", POOL), read("remote.yaml", REMOTE)]
BEFORE = resolve([*GOOD, read("job.yaml", JOB)])


def shown(resolution: Resolution) -> str:
    desired = resolution.desired
    return render_all(desired.problems, desired.warnings) + repr(desired.problems)


@settings(max_examples=4 * settings.default.max_examples, deadline=None)
@given(edits)
def test_an_edited_job_is_right_or_leaves_the_one_before_in_force(
    changes: list[tuple[float, int, str]],
) -> None:
    assert BEFORE.desired.problems == ()
    file = read("job.yaml", edited(JOB, changes))
    after = resolve([*GOOD, file], BEFORE.good)
    if after.desired.problems:
        for name, job in BEFORE.desired.jobs.items():
            assert after.desired.jobs[name] == job
            assert job.id in after.desired.protected_jobs
    for problem in after.desired.problems:
        assert problem.path == "job.yaml"
        assert problem.message
    assert shown(after)[:0] == ""


@settings(deadline=None)
@given(edits)
def test_an_edited_remote_never_takes_the_job_with_it_by_mistake(
    changes: list[tuple[float, int, str]],
) -> None:
    file = read("remote.yaml", edited(REMOTE, changes))
    after = resolve([GOOD[0], file, read("job.yaml", JOB)], BEFORE.good)
    for job in after.desired.jobs.values():
        assert set(job.remotes) <= set(after.desired.remotes)
        assert set(job.pools) <= set(after.desired.pools)
    if any(problem.path == "remote.yaml" for problem in after.desired.problems):
        assert BEFORE.desired.remotes.items() <= after.desired.remotes.items()
        assert BEFORE.desired.jobs.items() <= after.desired.jobs.items()


@settings(max_examples=4 * settings.default.max_examples, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 3), pieces.filter(lambda piece: piece != "\n")),
        max_size=3,
    )
)
def test_no_edit_beside_an_inline_secret_shows_it(changes: list[tuple[float, int, str]]) -> None:
    """Edits leave the line with the secret alone: a secret under a harmless name is nobody's."""
    before, line, after = SECRET_POOL.partition(f'  password: "{CANARY}"\n')
    text = edited(before, changes[:2]) + line + edited(after, changes[2:])
    assert CANARY not in shown(resolve([read("pool.yaml", text)]))


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
def test_any_bytes_have_an_answer(content: bytes) -> None:
    shown(resolve([parse_file("x.yaml", content)], BEFORE.good))


@settings(deadline=None)
@given(st.permutations([*GOOD, read("job.yaml", JOB), read("job2.yaml", JOB)]))
def test_the_order_of_files_means_nothing(files: list[ManifestFile]) -> None:
    expected = resolve([*GOOD, read("job.yaml", JOB), read("job2.yaml", JOB)])
    resolution = resolve(files)
    assert resolution.desired == expected.desired
    assert replace(resolution, desired=expected.desired) == expected
