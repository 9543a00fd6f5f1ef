import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.xapi.errors import BadAnswer, HostIsSlave, XapiFailure
from reconciler.xapi.wire import decode_answer, encode_call, failure_of, parse_task_result


def answer(**members):
    return json.dumps({"jsonrpc": "2.0", "id": 7, **members}).encode()


def test_a_call_is_rendered_as_json_rpc_2():
    assert json.loads(encode_call("VM.get_record", ["s", "r"], 7)) == {
        "jsonrpc": "2.0",
        "method": "VM.get_record",
        "params": ["s", "r"],
        "id": 7,
    }


@pytest.mark.parametrize("result", ["", "text", 3, 1.5, True, [], {}, {"a": ["b"]}, None])
def test_a_result_comes_back_as_it_is(result):
    assert decode_answer(answer(result=result), "m", 7) == result


@pytest.mark.parametrize(
    "error",
    [
        {"code": 1, "message": "HANDLE_INVALID", "data": ["VM", "OpaqueRef:1"]},
        ["HANDLE_INVALID", "VM", "OpaqueRef:1"],
    ],
    ids=["2.0", "before 7.3"],
)
def test_a_refusal_is_a_failure_with_its_parameters(error):
    with pytest.raises(XapiFailure) as caught:
        decode_answer(answer(error=error), "VM.get_record", 7)
    assert caught.value.code == "HANDLE_INVALID"
    assert caught.value.params == ("VM", "OpaqueRef:1")
    assert str(caught.value) == "VM.get_record: HANDLE_INVALID (VM, OpaqueRef:1)"


def test_an_old_host_gives_a_null_error_with_a_result():
    assert decode_answer(answer(result="x", error=None), "m", 7) == "x"


def test_a_slave_names_its_master():
    error = {"code": 1, "message": "HOST_IS_SLAVE", "data": ["10.0.0.7"]}
    with pytest.raises(HostIsSlave) as caught:
        decode_answer(answer(error=error), "m", 7)
    assert caught.value.master == "10.0.0.7"


def test_a_session_reference_never_comes_out_in_a_failure():
    secret = "OpaqueRef:the-session"
    for info in (
        ["SESSION_INVALID", secret],
        ["INTERNAL_ERROR", f"oops {secret}"],
        ["INTERNAL_ERROR", "GET /export?session_id=OpaqueRef:other-session&x"],
    ):
        failure = failure_of(info, "m", (secret,))
        assert secret not in str(failure) + repr(failure) + repr(failure.params)
        assert "other-session" not in str(failure)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"3",
        b"\xff\xfe",
        b"[" * 100_000,
        answer(),
        b'{"id": 8, "result": 1}',
        b'{"result": 1}',
        answer(error=3),
        answer(error={}),
        answer(error=[]),
        answer(result=1, error={"message": 3}),
        b'{"id":7,"result":' + b"9" * 5000 + b"}",
    ],
)
def test_anything_else_is_a_bad_answer(body):
    with pytest.raises(BadAnswer):
        decode_answer(body, "m", 7)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(body):
    with pytest.raises((BadAnswer, XapiFailure)):
        decode_answer(body, "m", 7)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", ""),
        ("  ", ""),
        ("<value>OpaqueRef:1</value>", "OpaqueRef:1"),
        ("<value/>", ""),
        ("<value><string>a&amp;b</string></value>", "a&b"),
        ("<value><array><data><value>a</value><value>b</value></data></array></value>", ["a", "b"]),
        ("<value><array><data/></array></value>", []),
        (
            "<value><struct><member><name>k</name><value>v</value></member></struct></value>",
            {"k": "v"},
        ),
        ("<value><boolean>1</boolean></value>", True),
        ("<value><int>-3</int></value>", -3),
        ("<value><double>0.5</double></value>", 0.5),
        ("<value><nil/></value>", None),
        ("set by hand", "set by hand"),
    ],
)
def test_a_task_result_is_parsed(text, result):
    assert parse_task_result(text) == result


@pytest.mark.parametrize(
    "text",
    [
        "<value>",
        "<other/>",
        '<!DOCTYPE x [<!ENTITY a "aaaa">]><value>&a;</value>',
        "<value><int>x</int></value>",
        "<value><int></int></value>",
        "<value><array><data>" * 40 + "</data></array></value>" * 40,
        "<value>" + "x" * 5_000_000 + "</value>",
    ],
)
def test_a_crafted_task_result_is_a_bad_answer(text):
    with pytest.raises(BadAnswer):
        parse_task_result(text)
