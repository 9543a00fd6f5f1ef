from pathlib import Path

import pytest

from reconciler.cli.exits import Failure
from reconciler.cli.loading import job_of, load, only_job, reveal
from reconciler.desired.state import SecretRef
from reconciler.ids import JobName, PoolName, RemoteName

HEAD = "apiVersion: backup.reconciler.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n"
POOL = HEAD + 'spec: {{urls: ["https://{name}"], username: root, passwordFrom: {{env: P}}}}\n'
REMOTE = HEAD + "spec: {{local: {{path: /backups/{name}}}}}\n"
JOB = (
    HEAD
    + "spec:\n  poolRefs: [{{name: {pool}}}]\n  selector: {{matchTags: [prod]}}\n"
    + "  targets: [{{remoteRef: {{name: {remote}}}}}]\n"
    + '  schedules: [{{name: night, cron: "0 2 * * *", retention: {{last: 3}}}}]\n'
)


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    documents = [
        POOL.format(kind="XenPool", name="east"),
        POOL.format(kind="XenPool", name="west"),
        REMOTE.format(kind="BackupRemote", name="cellar"),
        REMOTE.format(kind="BackupRemote", name="attic"),
        JOB.format(kind="BackupJob", name="nightly", pool="east", remote="cellar"),
        JOB.format(kind="BackupJob", name="weekly", pool="west", remote="attic"),
    ]
    (tmp_path / "all.yaml").write_text("---\n".join(documents))
    return tmp_path


def test_problems_are_said_and_the_rest_is_loaded(
    manifests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (manifests / "bad.yaml").write_text("kind: \x1b[2J\n")
    desired = load([manifests])
    assert set(desired.jobs) == {"nightly", "weekly"}
    out, err = capsys.readouterr()
    assert out == ""
    assert "bad.yaml:1" in err
    assert "\x1b" not in err


def test_no_problems_no_words(manifests: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load([manifests])
    assert capsys.readouterr() == ("", "")


def test_one_job_alone_is_worked_on_and_the_others_are_known(manifests: Path) -> None:
    desired = load([manifests])
    mine = only_job(desired, job_of(desired, "nightly"))
    assert {name: job.suspend for name, job in mine.jobs.items()} == {
        "nightly": False,
        "weekly": True,
    }
    assert set(mine.pools) == {PoolName("east")}
    assert set(mine.remotes) == {RemoteName("cellar")}
    assert mine.protected_jobs == desired.protected_jobs
    assert mine.jobs[JobName("weekly")].id == desired.jobs[JobName("weekly")].id


def test_a_job_that_is_not_there(manifests: Path) -> None:
    with pytest.raises(Failure, match="no manifest") as caught:
        job_of(load([manifests]), "hourly")
    assert caught.value.hint == "there are: nightly, weekly"


def test_a_secret_that_is_not_there_is_a_lookup_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool's client knows those, and waits for the secret to appear."""
    monkeypatch.setenv("SECRET", "s3cret")
    assert reveal(SecretRef(env="SECRET")) == "s3cret"
    with pytest.raises(LookupError, match="NOT_THERE is not set"):
        reveal(SecretRef(env="NOT_THERE"))
    with pytest.raises(LookupError, match="cannot be read"):
        reveal(SecretRef(file="/no/such/file"))
