"""Who we are to the API server: the service account of our pod, or a kubeconfig.

kopf's own functions find it, so that what kopf listens with and what we call with are the same.
Read anew when the server refuses it: a service account's token is replaced every hour or so.
"""

import base64
import dataclasses
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from tempfile import NamedTemporaryFile

import kopf

Find = Callable[[], kopf.ConnectionInfo | None]


class NoLogin(Exception):
    """There is neither a service account nor a usable kubeconfig; the text says why."""


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach the API server. headers: with the token. proxy: URL of one, if any."""

    server: str
    headers: dict[str, str] = field(repr=False)
    verify: ssl.SSLContext | bool = field(repr=False)
    namespace: str | None = None
    proxy: str | None = None


def find_login() -> kopf.ConnectionInfo | None:
    """Look in the pod first, then at $KUBECONFIG and ~/.kube/config, as kubectl does."""
    settings = kopf.OperatorSettings()
    in_a_pod = kopf.login_with_service_account(settings=settings)
    if in_a_pod is None:
        return kopf.login_with_kubeconfig(settings=settings)
    server = _server_of_pods()
    return in_a_pod if server is None else dataclasses.replace(in_a_pod, server=server)


def _server_of_pods() -> str | None:
    """Where the kubelet says that the API server is: to go there takes no cluster DNS."""
    host = os.environ.get("KUBERNETES_SERVICE_HOST")
    port = os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        return None
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


class Credentials:
    """The present login; one for the process, from any of its threads."""

    def __init__(self, find: Find = find_login) -> None:
        self._find = find

    def read(self) -> kopf.ConnectionInfo:
        """Find the login anew. Blocks on files. Raises NoLogin."""
        try:
            found = self._find()
        except (OSError, LookupError, ValueError, kopf.LoginError) as error:
            raise NoLogin(f"the kubeconfig cannot be used: {error}") from error
        if found is None:
            raise NoLogin("there is neither a service account of a pod nor a kubeconfig")
        return found

    def access(self) -> Access:
        """Find the login anew, as an HTTP client needs it. Blocks on files. Raises NoLogin."""
        found = self.read()
        try:
            verify = _verification_of(found)
        except (OSError, ValueError) as error:
            raise NoLogin(f"the certificates of the login cannot be used: {error}") from error
        return Access(
            server=found.server.rstrip("/"),
            headers=dict(found.as_http_headers()),
            verify=verify,
            namespace=found.default_namespace,
            proxy=found.proxy_url,
        )


def _verification_of(found: kopf.ConnectionInfo) -> ssl.SSLContext | bool:
    if found.server.startswith("http://"):
        return True
    context = ssl.create_default_context(
        cafile=_path(found.ca_path), cadata=_decoded(found.ca_data)
    )
    if found.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if found.certificate_path is not None:
        context.load_cert_chain(str(_path(found.certificate_path)), _path(found.private_key_path))
    elif (certificate := _decoded(found.certificate_data)) is not None:
        # The ssl module reads keys from files alone; this one is gone before anyone else looks.
        with NamedTemporaryFile("w", encoding="ascii", suffix=".pem") as file:
            file.write(f"{certificate}\n{_decoded(found.private_key_data) or ''}")
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _path(value: object) -> str | None:
    return None if value is None else value.decode() if isinstance(value, bytes) else str(value)


def _decoded(value: str | bytes | None) -> str | None:
    """Take a field of a kubeconfig: base64 of PEM, or PEM."""
    if value is None:
        return None
    raw = value.encode() if isinstance(value, str) else value
    text = raw if b"-----BEGIN" in raw else base64.b64decode(raw)
    return text.decode("ascii")
