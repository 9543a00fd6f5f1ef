"""JSON-RPC, both versions."""

import json

import pytest

from reconciler.lab import jsonrpc


def test_version_two() -> None:
    call = jsonrpc.decode(b'{"jsonrpc":"2.0","method":"VM.get_all","params":["s"],"id":1}')
    assert (call.version, call.method, call.parameters, call.identity) == (
        2,
        "VM.get_all",
        ["s"],
        1,
    )
    assert json.loads(jsonrpc.success(call, "")) == {"jsonrpc": "2.0", "result": "", "id": 1}
    assert json.loads(jsonrpc.failure(call, ["HANDLE_INVALID", "VM", "x"])) == {
        "jsonrpc": "2.0",
        "error": {"code": 1, "message": "HANDLE_INVALID", "data": ["VM", "x"]},
        "id": 1,
    }
    assert jsonrpc.decode(b'{"jsonrpc":"2.0","method":"m","id":"a"}').parameters == []


def test_version_one() -> None:
    call = jsonrpc.decode(b'{"method":"VM.get_all","params":[],"id":"x"}')
    assert call.version == 1
    assert json.loads(jsonrpc.success(call, [1])) == {"result": [1], "error": None, "id": "x"}
    assert json.loads(jsonrpc.failure(call, ["E"])) == {"result": None, "error": ["E"], "id": "x"}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"method":"m","id":1}',
        b'{"method":"m","params":[],"id":null}',
        b'{"method":"m","params":[],"id":true}',
        b'{"method":"m","params":{},"id":1}',
        b'{"method":1,"params":[],"id":1}',
    ],
)
def test_what_is_no_request(text: bytes) -> None:
    with pytest.raises(jsonrpc.JsonError):
        jsonrpc.decode(text)
