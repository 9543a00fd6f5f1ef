from collections.abc import Callable

import pytest

from reconciler.desired.document import Document, Identity
from reconciler.desired.manifest import read_manifest
from reconciler.desired.pool import PoolSpec
from reconciler.desired.state import Pool, SecretRef
from reconciler.ids import PoolName

Parse = Callable[[str], Document]

POOL = """\
apiVersion: backup.reconciler.io/v1alpha1
kind: XenPool
metadata: {{name: lab}}
spec: {{{}}}
"""
LAB = Identity("XenPool", "default", "lab")
GOOD = "urls: [https://xcp1.example.net], passwordFrom: {env: XCP}"


def said(document: Document) -> list[str]:
    return [f"{one.message} | {one.hint}" for one in read_manifest(document).problems]


def test_the_smallest_and_its_defaults(document: Parse) -> None:
    spec = read_manifest(document(POOL.format(GOOD))).spec
    assert isinstance(spec, PoolSpec)
    assert spec.pool(LAB) == Pool(
        PoolName("lab"), ("https://xcp1.example.net",), "root", SecretRef(env="XCP")
    )


def test_all_of_it(document: Parse) -> None:
    text = (
        'urls: ["https://xcp1.example.net:8443/", "https://[2001:db8::1]"], username: backup,'
        " passwordFrom: {file: /run/secrets/xcp}, tls: {fingerprint: 'SHA256:"
        + "Ab:"
        * 31
        + "ab'},"
        " maxConcurrentExports: 4, maxConcurrentSnapshots: 2"
    )
    spec = read_manifest(document(POOL.format(text))).spec
    assert isinstance(spec, PoolSpec)
    pool = spec.pool(LAB)
    assert pool.urls == ("https://xcp1.example.net:8443", "https://[2001:db8::1]")
    assert pool.password == SecretRef(file="/run/secrets/xcp")
    assert pool.fingerprint == "ab" * 32
    assert (pool.exports_max, pool.snapshots_max) == (4, 2)


def test_a_secret_of_kubernetes_stands_in_the_namespace_of_the_pool(document: Parse) -> None:
    text = "urls: [https://xcp1], passwordFrom: {secretRef: {name: xcp, key: password}}"
    spec = read_manifest(document(POOL.format(text))).spec
    assert isinstance(spec, PoolSpec)
    pool = spec.pool(Identity("XenPool", "paris", "lab"))
    assert pool.name == "paris/lab"
    assert pool.password == SecretRef(secret="xcp", key="password", namespace="paris")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:80"])
def test_a_pool_on_this_machine_may_speak_in_clear(document: Parse, url: str) -> None:
    text = f'urls: ["{url}"], passwordFrom: {{env: XCP}}'
    assert said(document(POOL.format(text))) == []


@pytest.mark.parametrize(
    "url",
    [
        "xcp1",
        "ftp://xcp1",
        "https://",
        "https://xcp1/path",
        "https://xcp1?x=y",
        "https://x y",
        "https://xcp1:0",
        "https://xcp1:65536",
        "http://xcp1.example.net",
        "http://127.0.0.1.evil",
    ],
)
def test_what_is_no_address_of_a_host(document: Parse, url: str) -> None:
    (problem,) = said(document(POOL.format(f'urls: ["{url}"], passwordFrom: {{env: XCP}}')))
    assert problem.startswith("spec.urls[0] must ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("urls: [], passwordFrom: {env: XCP}", "spec.urls is empty"),
        ("passwordFrom: {env: XCP}", "spec.urls is missing"),
        ("urls: [https://a.example]", "spec.passwordFrom is missing"),
        ("urls: [https://a.example], passwordFrom: {}", "exactly one of env, file and secretRef"),
        (
            "urls: [https://a.example], passwordFrom: {env: A, file: /b}",
            "exactly one of env, file and secretRef",
        ),
        (GOOD + ", tls: {}", "exactly one of caFile and fingerprint"),
        (GOOD + ", tls: {insecure: true}", "not supported yet | pin a self-signed"),
        (GOOD + ", tls: {fingerprint: 'ab'}", "64 hexadecimal digits"),
        (GOOD + ", tls: {caFile: ../ca.pem}", "must be an absolute path"),
        (GOOD + ", maxConcurrentExports: 0", "must be at least 1, not 0"),
        (GOOD + ", maxConcurrentExports: 1.5", "must be a whole number, not 1.5"),
        (GOOD + ", maxConcurrentSnapshots: 99", "must be at most 16, not 99"),
        (GOOD + ", maxConcurrentExport: 2", 'did you mean "maxConcurrentExports"?'),
        ("urls: [http://127.0.0.1], passwordFrom: {env: X}, tls: {caFile: /a}", "has tls, but no"),
    ],
)
def test_mistakes(document: Parse, text: str, problem: str) -> None:
    assert any(problem in one for one in said(document(POOL.format(text))))


@pytest.mark.parametrize(
    "text",
    [
        "urls: [https://a.example], password: hunter2",
        "urls: [https://a.example], pasword: hunter2",
        "urls: [https://a.example], secret: {value: hunter2}",
        "urls: [https://a.example], passwordFrom: hunter2",
        "urls: [https://a.example], passwordFrom: {env: 'hunter2!'}",
        "urls: [https://a.example], passwordFrom: {file: hunter2}",
        "urls: [https://a.example], passwordFrom: {value: hunter2}",
        "urls: ['https://root:hunter2@a.example'], passwordFrom: {env: XCP}",
        "x: &x hunter2, urls: [https://a.example], password: *x",
    ],
)
def test_an_inline_secret_is_refused_and_not_repeated(document: Parse, text: str) -> None:
    problems = read_manifest(document(POOL.format(text))).problems
    assert problems
    assert "hunter2" not in repr(problems)
