"""docs/spec as the tests read it: one page for each kind, and the manifests that are in it."""

import re
from pathlib import Path

PAGES = Path(__file__).resolve().parents[2] / "docs" / "spec"
KINDS = {
    "XenPool": PAGES / "xenpool.md",
    "BackupRemote": PAGES / "backupremote.md",
    "BackupJob": PAGES / "backupjob.md",
    "BackupRun": PAGES / "backuprun.md",
    "Restore": PAGES / "restore.md",
    "ProtectedVM": PAGES / "protectedvm.md",
}
OF_THE_OPERATOR = "ProtectedVM"
"""The kind that no file may hold."""


def manifests_of(kind: str) -> list[str]:
    """Every YAML block of a page. All of them are manifests: what is shown is tried."""
    text = KINDS[kind].read_text(encoding="utf-8")
    return re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def all_manifests() -> str:
    """Those of all pages together, as they would stand in one file."""
    return "---\n".join(
        text for kind in KINDS if kind != OF_THE_OPERATOR for text in manifests_of(kind)
    )
