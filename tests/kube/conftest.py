"""A real API server for the tests here: one for all of them, or one of a test's own.

Where KUBECONFIG_FOR_TESTS or KUBECONFIG names a cluster, that one serves instead of ours; tests
that kill an API server have their own all the same. KUBECONFIG is what many a shell names its
daily cluster by: one that backs up VMs already is left alone, unless the other variable insists.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from clusters import PATIENCE_S, Cluster, Kubectl, Namespace
from control_plane import ControlPlane, apply_crds, cluster_in
from keeper import keep
from kube_estate import Estate, make_estate
from kube_programs import programs
from node import Node, running_node

HERE = Path(__file__).parent
MEANT = os.environ.get("KUBECONFIG_FOR_TESTS")
GIVEN = MEANT or os.environ.get("KUBECONFIG")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.kube)


@pytest.fixture(scope="session")
def _plane_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for all processes of a run."""
    base = tmp_path_factory.getbasetemp()
    directory = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "control-plane"
    directory.mkdir(exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def cluster(_plane_directory: Path) -> Iterator[Cluster]:
    """The cluster that all tests share, with our kinds. Other tests' objects are in it, too."""
    if GIVEN:
        given = Cluster(Path(GIVEN), _plane_directory)
        if not MEANT and (used := _in_use(given)):
            pytest.fail(f"KUBECONFIG is of a cluster in use, with {used}; see docs/testing.md")
        apply_crds(given)
        yield given
        return
    programs("control-plane")  # fails or skips here, where pytest sees it
    with keep("control-plane", _plane_directory):
        yield cluster_in(_plane_directory)


def _in_use(cluster: Cluster) -> str:
    """An object of ours that is none of the tests'; "" if there is none."""
    if not cluster.kubectl("api-resources", "--categories=backup", "--no-headers"):
        return ""
    for each in cluster.kubectl.json("get", "backup", "--all-namespaces")["items"]:
        namespace = each["metadata"]["namespace"]
        if not namespace.startswith(Cluster.PREFIX):
            return f"{each['kind']}/{each['metadata']['name']} in namespace {namespace}"
    return ""


@pytest.fixture(scope="session")
def controllers(cluster: Cluster, _plane_directory: Path) -> Iterator[None]:
    """Namespaces are finalised, garbage is collected, roles aggregate, Jobs make pods."""
    if GIVEN:
        yield
        return
    with keep("controllers", _plane_directory):
        yield


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A cluster of its own with a real node, for tests of xdist's group "kubelet". Opt-in."""
    with running_node(tmp_path_factory.mktemp("node")) as made:
        yield made


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[Namespace]:
    """A namespace of the test's own in the shared cluster."""
    made = cluster.namespace()
    yield made
    cluster.kubectl("delete", "namespace", made.name, "--wait=false")


@pytest.fixture
def estate(namespace: Namespace, tmp_path: Path) -> Iterator[Estate]:
    """The test's own namespace, with a lab and a remote to back it up to."""
    made = make_estate(namespace, tmp_path)
    yield made
    made.lab.close()


@pytest.fixture
def near(request: pytest.FixtureRequest) -> Namespace:
    """A namespace in a cluster whose API server is on this machine, so that it can call us."""
    if not GIVEN:
        return request.getfixturevalue("namespace")
    plane: ControlPlane = request.getfixturevalue("make_plane")()
    return plane.cluster.namespace()


@pytest.fixture
def kubectl(namespace: Namespace) -> Kubectl:
    """kubectl in the test's own namespace, with all rights."""
    return namespace.kubectl


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Iterator[httpx.Client]:
    """Calls to the shared cluster's API as its administrator, through `kubectl proxy`."""
    with cluster.kubectl.proxy() as url, httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        yield client


@pytest.fixture
def make_plane(tmp_path: Path) -> Iterator[Callable[..., ControlPlane]]:
    """Starts a control plane that is the test's own, to be killed and started again.

    It takes seconds and 400 MB: for tests that cannot do with the shared one.
    """
    with ExitStack() as planes:

        def make(*flags: str, knows_us: bool = True) -> ControlPlane:
            directory = tmp_path / "plane"
            directory.mkdir()
            plane = ControlPlane(directory, flags, knows_us=knows_us)
            planes.callback(plane.stop)
            plane.start()
            return plane

        yield make
