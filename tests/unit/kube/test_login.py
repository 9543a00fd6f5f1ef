"""Who we are to the API server, found anew each time."""

from pathlib import Path

import kopf
import pytest

from reconciler.kube.login import Credentials, NoLogin


def test_nothing_to_log_in_with_is_said() -> None:
    with pytest.raises(NoLogin, match="neither a service account"):
        Credentials(lambda: None).access()


def test_a_broken_kubeconfig_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(NoLogin, match="kubeconfig cannot be used"):
        Credentials().access()
    (tmp_path / "config").write_text("contexts: []")
    with pytest.raises(NoLogin, match="kubeconfig cannot be used"):
        Credentials().access()


def test_a_token_is_found_anew_and_never_shown() -> None:
    tokens = iter(["hunter1", "hunter2"])

    def find() -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(server="http://127.0.0.1:1/", token=next(tokens))

    credentials = Credentials(find)
    first, second = credentials.access(), credentials.access()
    assert first.headers == {"Authorization": "Bearer hunter1"}
    assert second.headers == {"Authorization": "Bearer hunter2"}
    assert first.server == "http://127.0.0.1:1"
    assert "hunter" not in repr(first)
