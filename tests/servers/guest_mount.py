"""Runs in the machine: mounts a share as the product does, and says what came of it as JSON.

arguments: kind (nfs or smb), server, export or share, option… ; the password in an environment
variable of the test's.
"""

import json
import os
import sys

from reconciler.remotes.mounting import Mounter
from reconciler.remotes.mounts import mount_at, read_mounts
from reconciler.remotes.shares import NfsPlace, SharePlace, SmbPlace

STATE = "/run/reconciler/mounts"


def place_of(kind: str, server: str, share: str, options: tuple[str, ...]) -> SharePlace:
    if kind == "nfs":
        return NfsPlace(server, share, options=options)
    password = os.environ["SMB_PASSWORD"]
    return SmbPlace(
        server, share, username=os.environ["SMB_USER"], password=lambda: password, options=options
    )


def main() -> None:
    name, kind, server, share, *options = sys.argv[1:]
    mounter, place = Mounter(STATE), place_of(kind, server, share, tuple(options))
    directory = mounter.mount(name, place)
    assert mounter.mount(name, place) == directory, "mounting twice is mounting once"
    mounts = read_mounts()
    assert len([each for each in mounts if each.point == directory]) == 1
    found = mount_at(mounts, directory)
    assert found is not None
    print(json.dumps({"directory": directory, "source": found.source, "kind": found.kind}))
    print(json.dumps(sorted(os.listdir(STATE))))


if __name__ == "__main__":
    main()
