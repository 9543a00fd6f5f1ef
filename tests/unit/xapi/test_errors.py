import pytest

from reconciler.xapi.errors import (
    HostIsSlave,
    OutcomeUnknown,
    StreamRefused,
    StreamTruncated,
    XapiFailure,
    redact,
)


@pytest.mark.parametrize(
    "text",
    [
        "GET /export?session_id=OpaqueRef:11-aa&vdi=OpaqueRef:disk",
        "session_id: OpaqueRef:11-aa",
        "cookie session_id = OpaqueRef:11-aa;",
        "Session ref OpaqueRef:11-aa",
    ],
)
def test_whatever_names_itself_a_session_is_taken_out(text):
    assert "11-aa" not in redact(text)
    assert ("disk" in redact(text)) == ("disk" in text)


def test_secrets_are_taken_out_wherever_they_stand():
    assert redact("a hunter2 b hunter2", ("hunter2", "")) == "a *** b ***"


def test_text_from_the_wire_is_clipped():
    assert len(redact("x" * 1_000_000)) < 3000


def test_errors_read_as_sentences():
    assert (
        str(XapiFailure("SR_FULL", ("", "5 GiB"), "VM.snapshot")) == "VM.snapshot: SR_FULL (5 GiB)"
    )
    assert str(XapiFailure("SR_FULL")) == "SR_FULL"
    assert "may or may not" in str(OutcomeUnknown("VM.snapshot", "cut"))
    assert HostIsSlave("HOST_IS_SLAVE").master == ""
    refused = StreamRefused(500, "").because(XapiFailure("VDI_MISSING"))
    assert str(refused) == "HTTP 500: no explanation (VDI_MISSING)"
    assert str(StreamTruncated(10, 3)) == "the stream ended early: 3 of the next 10 bytes came"
