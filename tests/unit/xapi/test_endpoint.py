import pytest

from reconciler.xapi.endpoint import Endpoint, parse_host, parse_location, parse_url


@pytest.mark.parametrize(
    ("url", "endpoint", "rendered"),
    [
        ("https://pool.example", Endpoint(True, "pool.example", 443), "https://pool.example"),
        ("http://10.0.0.1:8080/", Endpoint(False, "10.0.0.1", 8080), "http://10.0.0.1:8080"),
        ("10.0.0.1", Endpoint(True, "10.0.0.1", 443), "https://10.0.0.1"),
        ("HTTPS://Pool:444", Endpoint(True, "pool", 444), "https://pool:444"),
        ("https://[FE80::1]:9", Endpoint(True, "fe80::1", 9), "https://[fe80::1]:9"),
        ("https://[::1]", Endpoint(True, "::1", 443), "https://[::1]"),
    ],
)
def test_a_url_is_parsed_and_rendered(url, endpoint, rendered):
    assert parse_url(url) == endpoint
    assert endpoint.url == rendered


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "ftp://host",
        "file:///etc/passwd",
        "https://root:secret@host",
        "https://ho st",
        "https://host:99999",
        "https://host:x",
        "https://a\r\nb",
    ],
)
def test_nonsense_is_refused(url):
    with pytest.raises(ValueError):
        parse_url(url)


def test_credentials_in_a_url_do_not_come_out_in_the_error():
    with pytest.raises(ValueError) as caught:
        parse_url("https://root:secret@host")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["a/b", "a@b", "a?b", "a:b", "", "x" * 300, "a b", "a\n", "-a", "[::1", "a#b", "%00"]
)
def test_a_crafted_address_is_refused(host):
    if host == "[::1":  # brackets are dropped, whichever are there
        assert parse_host(host) == "::1"
        return
    if host == "a\n":  # surrounding space is dropped
        assert parse_host(host) == "a"
        return
    with pytest.raises(ValueError):
        parse_host(host)


def test_another_host_keeps_scheme_and_port():
    assert Endpoint(True, "a", 8443).at("10.0.0.7") == Endpoint(True, "10.0.0.7", 8443)
    assert Endpoint(False, "a", 80).at("[::7]").url == "http://[::7]"
    with pytest.raises(ValueError):
        Endpoint(True, "a", 443).at("evil/@x")


def test_a_redirect_leads_to_a_host():
    assert parse_location("https://10.0.0.2/export_raw_vdi?x=1") == Endpoint(True, "10.0.0.2", 443)
    for location in ("", "/relative", "//10.0.0.2/x", "https://u:p@h/x"):
        with pytest.raises(ValueError):
            parse_location(location)
