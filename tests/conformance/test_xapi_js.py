"""npm's `xen-api`, Xen Orchestra's own client, against the lab."""

import json
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from reconciler.lab.lab import Lab
from reconciler.lab.settings import Settings

CLIENT = Path(__file__).parent / "xapi-js"
SIZE = 32 << 20
pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (CLIENT / "node_modules").is_dir(),
    reason="needs node and `npm ci` in tests/conformance/xapi-js (make tools)",
)


def drive(url: str, user: str, password: str, directory: Path) -> dict[str, object]:
    wish = {
        "url": url,
        "user": user,
        "password": password,
        "directory": str(directory),
        "vm": "web",
    }
    done = subprocess.run(
        ["node", "drive.mjs", json.dumps(wish)],
        cwd=CLIENT,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NODE_TLS_REJECT_UNAUTHORIZED": "0"},
    )
    assert done.returncode == 0, done.stderr
    facts: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return facts


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_xen_api_backs_up_and_restores(tmp_path: Path, tls: bool) -> None:
    image = tmp_path / "image.raw"
    content = bytearray(SIZE)
    content[3 << 20 : 6 << 20] = random.Random(1).randbytes(3 << 20)
    content[-(2 << 20) :] = random.Random(2).randbytes(2 << 20)
    image.write_bytes(content)
    with (
        Lab.open(str(tmp_path / "lab"), settings=Settings(coalesce_delay_s=0.2)) as lab,
        lab.serve(tls=tls) as served,
    ):
        machine = lab.import_vm("web", [str(image)], tags=["backup"])
        facts = drive(served.url, served.user, served.password, tmp_path)
        assert facts["vm"] == machine.uuid
        assert {"VM", "VDI", "VBD", "SR", "host", "pool", "network"} <= set(facts["types"])
        for name in ("first", "second"):
            assert facts[name] == {"is_a_snapshot": True, "snapshot_of": True}
        whole = lab.read_vdi(str(facts["copy"]), 0, SIZE)
        assert whole == lab.read_vdi(str(facts["secondDisk"]), 0, SIZE)
        assert whole != bytes(content)
        assert (facts["marker"], facts["markerSeen"], facts["removed"]) == ("two", "two", True)
        errors = facts["errors"]
        assert isinstance(errors, dict)
        assert errors["unknown"] == ["HANDLE_INVALID", "VM", "OpaqueRef:none"]
        assert errors["count"][:2] == ["MESSAGE_PARAMETER_COUNT_MISMATCH", "VM.get_record"]
        assert errors["method"] == ["MESSAGE_METHOD_UNKNOWN", "VM.fly"]
        assert errors["asynchronous"][0] == "VM_IS_SNAPSHOT"
        assert errors["blocked"][0] == "OPERATION_BLOCKED"
        assert errors["blocked"][2] == "by the test"
        # one block changed, so the delta carries one
        assert (tmp_path / "delta.vhd").stat().st_size == 2048 + 512 + (2 << 20) + 512 + 512
