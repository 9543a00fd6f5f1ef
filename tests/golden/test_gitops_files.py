"""Argo CD's ConfigMap holds the very Lua that is tested: `make golden` writes it."""

from collections.abc import Callable
from pathlib import Path

ARGO = Path(__file__).resolve().parents[2] / "gitops" / "argocd"
LUA = ARGO / "resource_customizations" / "backup.reconciler.io" / "_" / "health.lua"
CONFIG = """\
# Argo CD learns how our objects stand. Made of health.lua; merge it into your argocd-cm.
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  namespace: argocd
  labels:
    app.kubernetes.io/name: argocd-cm
    app.kubernetes.io/part-of: argocd
data:
  resource.customizations: |
    "backup.reconciler.io/*":
      health.lua: |
{lua}
"""


def test_the_config_map_is_fresh(golden: Callable[[Path, str], None]) -> None:
    lines = LUA.read_text(encoding="utf-8").splitlines()
    indented = "\n".join(f"        {line}".rstrip() for line in lines)
    golden(ARGO / "argocd-cm.yaml", CONFIG.format(lua=indented))
