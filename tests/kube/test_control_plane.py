"""The control plane of the tests is a real one, and is nobody's burden afterwards."""

from collections.abc import Callable

from clusters import Namespace
from control_plane import ControlPlane


def test_each_test_has_a_namespace_of_its_own(namespace: Namespace) -> None:
    namespace.kubectl("create", "configmap", "mine", "--from-literal=a=b")
    listed = namespace.kubectl.json("get", "configmap", "mine")
    assert (listed["metadata"]["namespace"], listed["data"]) == (namespace.name, {"a": "b"})


def test_an_account_may_do_what_it_is_allowed_to_and_no_more(namespace: Namespace) -> None:
    alice = namespace.as_account("alice")
    assert "Forbidden" in alice.refused("get", "backupjobs")
    namespace.kubectl("create", "role", "reader", "--verb=list", "--resource=backupjobs")
    account = f"--serviceaccount={namespace.name}:alice"
    namespace.kubectl("create", "rolebinding", "reader", "--role=reader", account)
    assert alice.json("get", "backupjobs")["items"] == []
    assert "Forbidden" in alice.refused("get", "xenpools")


def test_controllers_finalise_namespaces(controllers: None, namespace: Namespace) -> None:
    gone = namespace.cluster.namespace()
    namespace.kubectl("delete", "namespace", gone.name, "--wait", "--timeout=120s")


def test_an_api_server_that_was_killed_knows_what_it_knew(
    make_plane: Callable[..., ControlPlane],
) -> None:
    plane = make_plane()
    namespace = plane.cluster.namespace("kept")
    plane.kill_api()
    assert "refused" in namespace.kubectl.refused("get", "backupjobs")
    plane.start_api()
    assert namespace.kubectl.json("get", "backupjobs")["items"] == []
