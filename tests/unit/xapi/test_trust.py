import ssl

import pytest

from reconciler.xapi.errors import Untrusted
from reconciler.xapi.trust import Pins, Trust, digest_of, parse_fingerprints, trust_of


def der_of(certificate):
    return ssl.PEM_cert_to_DER_cert(certificate.pem)


@pytest.mark.parametrize("text", ["", "abc", "g" * 64, "a" * 63, ",", "a" * 64 + ",x", "٣" * 64])
def test_a_fingerprint_that_is_none_is_refused(text):
    with pytest.raises(ValueError):
        trust_of(None, text)


def test_fingerprints_are_taken_as_tools_print_them():
    upper = ":".join(["AB"] * 32)
    assert parse_fingerprints(f"{upper}, {'cd' * 32}") == {"ab" * 32, "cd" * 32}


def test_a_digest_is_what_openssl_prints(certificate):
    assert digest_of(der_of(certificate)) == certificate.fingerprint


def test_a_configured_pin_counts_for_any_host(certificate):
    pins = Pins(frozenset({certificate.fingerprint}))
    pins.check(der_of(certificate), "10.0.0.1")
    pins.check(der_of(certificate), None)


def test_a_learned_certificate_counts_for_its_host_only(certificate):
    pins = Pins(frozenset({"0" * 64}))
    pins.learn("10.0.0.1", certificate.pem)
    pins.check(der_of(certificate), "10.0.0.1")
    for host in ("10.0.0.2", None):
        with pytest.raises(Untrusted):
            pins.check(der_of(certificate), host)


def test_no_certificate_is_no_match():
    with pytest.raises(Untrusted):
        Pins(frozenset({digest_of(b"")})).check(None, "10.0.0.1")


@pytest.mark.parametrize("pem", ["", "rubbish", "-----BEGIN CERTIFICATE-----\n!\n"])
def test_what_is_no_certificate_is_not_learned(pem):
    pins = Pins(frozenset({"0" * 64}))
    with pytest.raises(ValueError):
        pins.learn("10.0.0.1", pem)
    assert pins.learned == {}


def test_without_a_pin_chain_and_name_are_checked():
    context = Trust().context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_bundle_without_certificates_is_said(tmp_path):
    bundle = tmp_path / "ca.pem"
    bundle.write_text("rubbish")
    with pytest.raises(Untrusted, match="CA bundle"):
        Trust(ca=str(bundle)).context()
