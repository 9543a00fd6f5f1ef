"""Runs as the first process of a machine in user-mode Linux: a kernel with NFS and SMB clients.

Its root is the host's, so the same interpreter and packages are there. It is told what to run over
a serial line, one JSON document a line, and answers on it: each line that the program prints, and
how it ended. What it writes goes to memory (/run).

arguments: address/prefix of the machine.
"""

import json
import os
import signal
import subprocess
import sys
import tty
from pathlib import Path

MODULES = ("nfs", "nfsv4", "cifs")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def do(*command: str) -> None:
    subprocess.run(command, check=True)


def set_up(address: str) -> None:
    os.environ["PATH"] = PATH
    do("mount", "-t", "proc", "proc", "/proc")
    do("mount", "-t", "sysfs", "sys", "/sys")
    do("mount", "-t", "tmpfs", "tmpfs", "/run")
    do("ip", "link", "set", "lo", "up")
    do("ip", "address", "add", address, "dev", "vec0")
    do("ip", "link", "set", "vec0", "up")
    release = os.uname().release
    modules = Path("/run/modules/lib/modules")
    modules.mkdir(parents=True)
    (modules / release).symlink_to(f"/usr/lib/uml/modules/{release}")
    # The kernel asks for the ciphers of SMB by itself.
    loader = Path("/run/modprobe")
    loader.write_text('#!/bin/sh\nexec /sbin/modprobe -d /run/modules "$@"\n', encoding="utf-8")
    loader.chmod(0o755)
    Path("/proc/sys/kernel/modprobe").write_text(str(loader), encoding="utf-8")
    for module in MODULES:
        do(str(loader), module)


def serve(line: int) -> None:
    asked = os.fdopen(line, "r", encoding="utf-8")
    answer(line, ready=os.uname().release)
    for text in asked:
        request = json.loads(text)
        process = subprocess.Popen(
            request["run"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={
                "PATH": PATH,
                "HOME": "/run",
                "TMPDIR": "/run",
                "LC_ALL": "C.UTF-8",
                **request["env"],
            },
            cwd=request["cwd"],
            text=True,
            errors="replace",
        )
        for said in process.stdout or ():
            answer(line, said=said.rstrip("\n"))
        answer(line, status=process.wait())


def answer(line: int, **content: object) -> None:
    left = json.dumps(content).encode() + b"\n"
    while left:
        left = left[os.write(line, left) :]


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = os.open("/dev/ttyS0", os.O_RDWR | os.O_NOCTTY)
    tty.setraw(line)
    try:
        set_up(sys.argv[1])
    except Exception as error:
        answer(line, failed=repr(error))
        raise
    serve(line)


if __name__ == "__main__":
    main()
