import pytest

from reconciler.xapi.endpoint import Endpoint
from reconciler.xapi.errors import (
    BadAnswer,
    Booting,
    CredentialsInvalid,
    HostIsSlave,
    Unreachable,
    Untrusted,
    XapiFailure,
)
from reconciler.xapi.login import Session, log_in

A, B, C = (Endpoint(True, name, 443) for name in "abc")


class Hosts:
    """What each host says to a login, and who was asked."""

    def __init__(self, **says):
        self.says = {Endpoint(True, name, 443): answer for name, answer in says.items()}
        self.asked = []

    async def __call__(self, endpoint):
        self.asked.append(endpoint)
        answer = self.says.get(endpoint, Unreachable(f"{endpoint.host}: refused"))
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def no_pause(seconds):
    pass


async def login(hosts, *candidates):
    return await log_in(candidates, hosts, 10, no_pause)


async def test_the_first_that_answers_is_it():
    hosts = Hosts(b="session")
    assert await login(hosts, A, B, C) == ("session", B)
    assert hosts.asked == [A, B]


async def test_nobody_is_asked_twice():
    hosts = Hosts()
    with pytest.raises(Unreachable, match="a: refused; b: refused"):
        await login(hosts, A, B, A)
    assert hosts.asked == [A, B]


async def test_a_slave_is_followed_before_the_next_candidate():
    hosts = Hosts(a=HostIsSlave("HOST_IS_SLAVE", ["c"]), c="session")
    assert await login(hosts, A, B) == ("session", C)
    assert hosts.asked == [A, C]


async def test_slaves_in_a_circle_end():
    hosts = Hosts(a=HostIsSlave("HOST_IS_SLAVE", ["b"]), b=HostIsSlave("HOST_IS_SLAVE", ["a"]))
    with pytest.raises(Unreachable, match="not the master"):
        await login(hosts, A)


@pytest.mark.parametrize("code", ["SESSION_AUTHENTICATION_FAILED", "RBAC_PERMISSION_DENIED"])
async def test_refused_credentials_stop_at_once(code):
    hosts = Hosts(a=XapiFailure(code, ["root"]), b="session")
    with pytest.raises(CredentialsInvalid):
        await login(hosts, A, B)
    assert hosts.asked == [A]


async def test_a_booting_host_is_passed_over_if_another_answers():
    hosts = Hosts(a=XapiFailure("HOST_STILL_BOOTING"), b="session")
    assert await login(hosts, A, B) == ("session", B)


async def test_a_booting_host_is_asked_again():
    hosts = Hosts(a=[XapiFailure("HOST_STILL_BOOTING")] * 3 + ["session"])
    assert await login(hosts, A) == ("session", A)
    hosts = Hosts(a=[XapiFailure("HOST_STILL_BOOTING")] * 100)
    with pytest.raises(Booting):
        await login(hosts, A)


async def test_of_many_troubles_the_one_of_most_use_is_raised():
    with pytest.raises(Untrusted, match="other certificate"):
        await login(Hosts(b=Untrusted("b: other certificate")), A, B)
    with pytest.raises(XapiFailure, match="INTERNAL_ERROR"):
        await login(Hosts(a=XapiFailure("INTERNAL_ERROR")), A)
    with pytest.raises(BadAnswer):
        await login(Hosts(a=HostIsSlave("HOST_IS_SLAVE", ["x/y"])), A)
    with pytest.raises(Unreachable, match="no host to ask"):
        await login(Hosts())


def test_a_session_does_not_show_its_reference():
    assert "secret" not in repr(Session("OpaqueRef:secret", A, 1))
