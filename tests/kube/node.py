"""A real node of a cluster: kubelet, containerd and runc on this machine, and a scheduler.

Takes root. It lives in namespaces of its own: when it goes, the kernel takes along what it started
and mounted, however it goes. It uses the machine's network, and so do its pods.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from clusters import PATIENCE_S, Cluster, Namespace
from control_plane import Children, ControlPlane
from kube_programs import build, programs
from node_files import NAME, SMALL_IMAGE, archive_of_small_image, write_configuration

WANTED = "RECONCILER_TESTS_KUBELET"
_WORKER = "worker"
_TAKEN = (Path("/run/containerd"), Path("/var/lib/kubelet"))
_CGROUPS = Path("/sys/fs/cgroup")
_OURS = "kubepods"
_PLUGINS = Path("/usr/lib/cni")
_DEBIAN = {"runc": "runc", "busybox": "busybox-static", _PLUGINS / "loopback": "CNI plugins"}

# $1: the directory of all that the node keeps; $2, $3: of its programs.
_INSIDE = """
set -euo pipefail
mount --make-rshared /
# Both write there, whatever their configuration says.
mount -t tmpfs node /run/containerd
mount -t tmpfs node /var/lib/kubelet
# The kubelet wants some settings of the kernel, and sees them; the machine keeps its own.
for each in "$1"/settings/*/*; do mount --bind "$each" "/proc/sys/${each#"$1/settings/"}"; done
export PATH="$3:$PATH"
containerd --config "$1/containerd.toml" >"$1/containerd.log" 2>&1 &
until ctr --address "$1/containerd.sock" version >/dev/null 2>&1; do
  kill -0 $! || exit 1
  sleep 0.1
done
"$2/kubelet" --config="$1/kubelet.json" --kubeconfig="$1/kubeconfig" --root-dir="$1/kubelet" \
  --cert-dir="$1/certificates" --hostname-override="$4" >"$1/kubelet.log" 2>&1 &
wait -n  # neither should end; and whoever loses its parent is waited for, too
"""


class Node:
    """directory: a short path, because sockets lie in it."""

    def __init__(self, plane: ControlPlane, directory: Path) -> None:
        self._plane = plane
        self._directory = directory
        self._programs = programs("containerd")
        self._children = Children(directory, "node")
        self._inside: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until the cluster says that it is ready."""
        kubectl = self.cluster.kubectl
        write_configuration(self._directory, _PLUGINS)
        shutil.copyfile(kubectl.kubeconfig, self._directory / "kubeconfig")
        apart = ["--mount", "--propagation=private", "--mount-proc", "--pid", "--fork"]
        command = ["setpriv", "--pdeathsig=KILL", "unshare", "--kill-child", *apart]
        given = [self._directory, programs("node"), self._programs, NAME]
        with (self._directory / "inside.log").open("wb") as log:
            self._inside = subprocess.Popen(
                [*command, "bash", "-c", _INSIDE, "node", *given],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._await(lambda: bool(kubectl("get", "nodes", "-o", "name")))
        archive = self._directory / "small.tar"
        archive_of_small_image(archive)
        self.take(archive)
        self._children.start(
            "kube-scheduler",
            f"--kubeconfig={kubectl.kubeconfig}",
            f"--authentication-kubeconfig={kubectl.kubeconfig}",
            f"--authorization-kubeconfig={kubectl.kubeconfig}",
            "--leader-elect=false",
            "--secure-port=0",
        )
        kubectl("wait", "--for=condition=Ready", f"node/{NAME}", f"--timeout={PATIENCE_S}s")

    def stop(self) -> None:
        self._children.kill_all()
        if self._inside is not None:
            if self._inside.poll() is None:
                first = Path(f"/proc/{self._inside.pid}/task/{self._inside.pid}/children")
                os.kill(int(first.read_text()), signal.SIGKILL)  # and with it all the others
            self._inside.wait()
        _remove_cgroups()

    def take(self, archive: Path) -> None:
        """Have the image of an archive on the node, as if it had been pulled."""
        self.ctr("images", "import", archive)

    def ctr(self, *words: "str | Path") -> str:
        socket = self._directory / "containerd.sock"
        ended = subprocess.run(
            [self._programs / "ctr", "--address", socket, "--namespace", "k8s.io", *words],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    @property
    def cluster(self) -> Cluster:
        return self._plane.cluster

    @property
    def url(self) -> str:
        """Of the API server, for pods as well: they use the machine's network."""
        return self._plane.url

    @property
    def logs(self) -> Path:
        return self._directory / "logs"

    def _await(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self._inside is not None
            assert self._inside.poll() is None, self._said()
            assert time.monotonic() < deadline, self._said()
            time.sleep(0.2)

    def _said(self) -> str:
        names = ("inside", "containerd", "kubelet")
        logs = [self._directory / f"{name}.log" for name in names]
        return "\n".join(log.read_text()[-3000:] for log in logs if log.exists())


class NodeRunner:
    """What tests ask about the pods of a namespace, as they ask the stand-in."""

    image = SMALL_IMAGE

    def __init__(self, node: Node, namespace: Namespace) -> None:
        self._node = node
        self.namespace = namespace

    def log(self, pod: str) -> str:
        """What the worker of a pod said. It is there until the pod is deleted."""
        said: list[str] = []
        for path in self._node.logs.glob(f"{self.namespace.name}_{pod}_*/{_WORKER}/*.log"):
            # Of each line: time, stream, whether it is whole, text.
            said += [line.split(" ", 3)[3] for line in path.read_text().splitlines()]
        return "\n".join(said)

    def kill(self, pod: str) -> None:
        """As the kernel does when memory runs out."""
        chosen = {"pod.namespace": self.namespace.name, "pod.name": pod, "container.name": _WORKER}
        labels = (f'labels."io.kubernetes.{key}"=={text}' for key, text in chosen.items())
        for container in self._node.ctr("containers", "ls", "-q", ",".join(labels)).split():
            self._node.ctr("tasks", "kill", "--signal", "SIGKILL", container)


@contextmanager
def running_node(area: Path) -> Iterator[Node]:
    """A cluster of its own with one node. Skips where it was not asked for."""
    if WANTED not in os.environ:
        pytest.skip(f"takes root and minutes: {WANTED}=1 asks for it")
    assert os.geteuid() == 0, "a kubelet is root"
    missing = [package for program, package in _DEBIAN.items() if not shutil.which(program)]
    assert not missing, f"not installed: {', '.join(missing)}"
    taken = list(_cgroups())
    assert not taken, f"another kubelet is at work here, or was killed: {taken[0]}"
    build("control-plane", "containerd", "node")
    with ExitStack() as until_then:
        until_then.enter_context(_to_mount_on(*_TAKEN))
        directory = until_then.enter_context(tempfile.TemporaryDirectory(prefix="node-"))
        plane = ControlPlane(area, with_tokens=True)
        until_then.callback(plane.stop)
        plane.start()
        plane.start_controllers("node-lifecycle", "deployment", "replicaset")
        node = Node(plane, Path(directory))
        until_then.callback(node.stop)
        node.start()
        yield node


@contextmanager
def _to_mount_on(*places: Path) -> Iterator[None]:
    made = [place for place in places if not place.exists()]
    for place in made:
        place.mkdir()
    try:
        yield
    finally:
        for place in made:
            place.rmdir()


def _cgroups() -> Iterator[Path]:
    """Of pods, in either version: one tree, or one for each resource."""
    for parent in (_CGROUPS, *_CGROUPS.glob("*/")):
        if (parent / _OURS).is_dir():
            yield parent / _OURS


def _remove_cgroups() -> None:
    for top in _cgroups():
        for directory, _, _ in os.walk(top, topdown=False):
            os.rmdir(directory)
