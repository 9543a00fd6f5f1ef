import pytest

from reconciler.desired.resolve import resolve
from reconciler.sources.documents import parse_file
from reconciler.sources.render import render_all

POOL = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: XenPool
metadata: {name: lab}
spec:
  urls: [https://xcp1.example.net]
  passwordFrom:
    secretRef:
      name: xcp
      key: password
"""


def test_a_secret_of_kubernetes_is_right_and_warned_of_at_its_place() -> None:
    desired = resolve([parse_file("pool.yaml", POOL.encode())]).desired
    assert list(desired.pools) == ["lab"]
    assert render_all(desired.problems, desired.warnings) == (
        "pool.yaml:7:5: warning: spec.passwordFrom.secretRef: there are no Kubernetes secrets where"
        " manifests are files\n"
        "    7 |     secretRef:\n"
        "      |     ^^^^^^^^^\n"
        "  hint: use env or file\n"
        "\n"
        "1 warning in 1 file\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        POOL.replace("backup.reconciler.io/v1alpha1", "v1"),
        POOL.replace("secretRef:", "env: XCP").partition("      name")[0],
        POOL.replace("spec:", "data:"),
    ],
)
def test_nothing_else_is(text: str) -> None:
    assert parse_file("pool.yaml", text.encode()).warnings == ()
