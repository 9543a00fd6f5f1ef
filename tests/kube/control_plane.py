"""A control plane of the tests' own on loopback: etcd, kube-apiserver, controllers on request.

Nothing of it outlives the process that started it, however that ends.
"""

import contextlib
import secrets
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
from clusters import Cluster, kubeconfig
from kube_certificates import Certificates, make_certificates
from kube_programs import programs

CRDS = Path(__file__).resolve().parents[2] / "crds"
READY_S = 120.0
_POLL_S = 0.05
_CONTROLLERS = (
    "clusterrole-aggregation",
    "cronjob",
    "garbage-collector",
    "job",
    "namespace",
    "pod-garbage-collector",
    "root-ca-certificate-publisher",
    "serviceaccount",
    "ttl-after-finished",
)


class Children:
    """Programs of a set that run for us, each with its output in a file."""

    def __init__(self, directory: Path, of: str = "control-plane") -> None:
        self._directory = directory
        self._programs = programs(of)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *flags: str) -> None:
        with (self._directory / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                # It dies with the thread that starts it, which is the main one.
                ["setpriv", "--pdeathsig=KILL", self._programs / name, *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def kill_all(self) -> None:
        for name in reversed(list(self._running)):
            self.kill(name)

    def check(self) -> None:
        """Raises AssertionError if one of them ended."""
        for name, process in self._running.items():
            assert process.poll() is None, f"{name} ended:\n{self.tail(name)}"

    def tail(self, name: str) -> str:
        """The end of a program's output."""
        return (self._directory / f"{name}.log").read_text(errors="replace")[-4000:]


class ControlPlane:
    """etcd holds what the API server knows, so the latter can be killed and started again."""

    def __init__(
        self,
        directory: Path,
        flags: Sequence[str] = (),
        *,
        with_tokens: bool = False,
        knows_us: bool = True,
    ) -> None:
        """directory: an empty one. flags: more of them, for kube-apiserver.

        with_tokens: whether pods are given the tokens of their accounts, by who runs them.
        knows_us: our kinds are there.
        """
        self._knows_us = knows_us
        self._directory = directory
        without = () if with_tokens else ("--disable-admission-plugins=ServiceAccount",)
        self._flags = (*without, *flags)
        self._children = Children(directory)
        self._certificates = make_certificates(directory / "certificates")
        # Bound for as long as we live, so that nobody else is given the port while the server is
        # down; it never listens, so all connections are the server's.
        self._port = socket.socket()
        self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._port.bind(("127.0.0.1", 0))
        self._token = secrets.token_urlsafe()
        (directory / "tokens.csv").write_text(f'{self._token},admin,admin,"system:masters"\n')
        self.cluster = cluster_in(directory)
        connection = {
            "server": self.url,
            "certificate-authority": str(self._certificates.ca),
        }
        self.cluster.kubeconfig.write_text(
            kubeconfig(connection, {"token": self._token}, "default")
        )

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port.getsockname()[1]}"

    def start(self) -> None:
        """Start etcd and the API server, and wait until they answer and our kinds are known."""
        self._start_etcd()
        self.start_api()
        if self._knows_us:
            apply_crds(self.cluster)

    def stop(self) -> None:
        self._children.kill_all()
        self._port.close()

    def kill_api(self) -> None:
        """SIGKILL: connections break, nothing is said goodbye to."""
        self._children.kill("kube-apiserver")

    def start_api(self) -> None:
        """Start the API server, where it was before if it was, and wait until it is ready."""
        pem = self._certificates
        self._children.start(
            "kube-apiserver",
            f"--etcd-servers={self._etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port.getsockname()[1]}",
            "--permit-port-sharing",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",  # the others refuse an address on loopback
            "--service-cluster-ip-range=10.0.0.0/24",
            f"--tls-cert-file={pem.server}",
            f"--tls-private-key-file={pem.server_key}",
            f"--client-ca-file={pem.ca}",
            f"--token-auth-file={self._directory / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pem.accounts_public}",
            f"--service-account-signing-key-file={pem.accounts}",
            "--allow-privileged",
            *self._flags,
        )
        self._await_api()

    def start_controllers(self, *further: str) -> None:
        start_controllers(self._children, self._directory, further)

    @property
    def _etcd(self) -> str:
        return f"unix://{self._directory / 'etcd.sock'}"

    def _start_etcd(self) -> None:
        nowhere = "http://127.0.0.1:2380"  # it must tell others an address, and there are none
        self._children.start(
            "etcd",
            "--name=tests",
            f"--data-dir={self._directory / 'etcd'}",
            "--unsafe-no-fsync",  # it need not outlive a power cut
            f"--listen-client-urls={self._etcd}",
            f"--advertise-client-urls={nowhere}",
            f"--listen-peer-urls=unix://{self._directory / 'peers.sock'}",
            f"--initial-advertise-peer-urls={nowhere}",
            f"--initial-cluster=tests={nowhere}",
            "--logger=zap",
            "--log-level=warn",
        )

    def _await_api(self) -> None:
        deadline = time.monotonic() + READY_S
        with self.client() as client:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (
                        client.get("/readyz").text == "ok"
                        and client.get("/api/v1/namespaces/default").is_success
                    ):
                        return
                self._children.check()
                assert time.monotonic() < deadline, self._children.tail("kube-apiserver")
                time.sleep(_POLL_S)

    @contextlib.contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """For calls as the administrator."""
        context = ssl.create_default_context(cafile=self._certificates.ca)
        headers = {"Authorization": f"Bearer {self._token}"}
        with httpx.Client(
            base_url=self.url, verify=context, headers=headers, timeout=READY_S, trust_env=False
        ) as client:
            yield client


def cluster_in(directory: Path) -> Cluster:
    """The cluster whose control plane lives in a directory."""
    return Cluster(directory / "admin.kubeconfig", directory)


def start_controllers(children: Children, directory: Path, further: Sequence[str] = ()) -> None:
    """Start what finalises namespaces, collects garbage, aggregates roles and runs Jobs."""
    pem = Certificates.at(directory / "certificates")
    children.start(
        "kube-controller-manager",
        f"--kubeconfig={cluster_in(directory).kubeconfig}",
        "--controllers=" + ",".join(f"{name}-controller" for name in (*_CONTROLLERS, *further)),
        f"--service-account-private-key-file={pem.accounts}",
        f"--root-ca-file={pem.ca}",
        "--leader-elect=false",
        "--secure-port=0",
    )


def apply_crds(cluster: Cluster) -> None:
    """Make our kinds known, and wait until they are."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    cluster.kubectl(
        "wait", "--for=condition=Established", f"--timeout={READY_S:.0f}s", "-f", str(CRDS)
    )
    deadline = time.monotonic() + READY_S
    count = len(list(CRDS.glob("*.yaml")))
    while True:
        # What kubectl remembers from before would hide our short names from it.
        shutil.rmtree(cluster.area / "kubectl", ignore_errors=True)
        listed = cluster.kubectl("api-resources", "--categories=backup", "--no-headers")
        if len(listed.splitlines()) >= count:
            return
        assert time.monotonic() < deadline, listed
        time.sleep(_POLL_S)
