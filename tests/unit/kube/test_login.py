"""Who we are to the API server, found anew each time."""

from pathlib import Path

import kopf
import pytest

from reconciler.kube.login import Credentials, NoLogin

IN_A_POD = kopf.ConnectionInfo(server="https://kubernetes.default.svc", token="hunter2")


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


@pytest.mark.parametrize(
    ("told", "server"),
    [
        ({"HOST": "10.0.0.1", "PORT": "443"}, "https://10.0.0.1:443"),
        ({"HOST": "fd00::1", "PORT": "6443"}, "https://[fd00::1]:6443"),
        ({"HOST": "10.0.0.1"}, IN_A_POD.server),
        ({}, IN_A_POD.server),
    ],
)
def test_a_pod_goes_where_the_kubelet_says_and_asks_no_dns(
    told: dict[str, str], server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kopf, "login_with_service_account", lambda **_: IN_A_POD)
    for name in ("HOST", "PORT"):
        monkeypatch.delenv(f"KUBERNETES_SERVICE_{name}", raising=False)
    for name, text in told.items():
        monkeypatch.setenv(f"KUBERNETES_SERVICE_{name}", text)
    found = Credentials().read()
    assert found.server == server
    assert found.token == IN_A_POD.token
