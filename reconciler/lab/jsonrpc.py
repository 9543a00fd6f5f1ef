"""JSON-RPC as XAPI speaks it: 2.0, and 1.0 when the request does not say."""

import json
from dataclasses import dataclass

from reconciler.lab.values import Value


class JsonError(Exception):
    """A text that is no JSON-RPC request."""


@dataclass(frozen=True, slots=True)
class JsonCall:
    """One request; `version` is 1 or 2, `identity` goes back as it came."""

    version: int
    method: str
    parameters: list[Value]
    identity: int | str


def decode(body: bytes) -> JsonCall:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise JsonError("not JSON") from None
    if not isinstance(request, dict):
        raise JsonError("a request is an object")
    version = 2 if request.get("jsonrpc") == "2.0" else 1
    method = request.get("method")
    identity = request.get("id")
    parameters = request.get("params")
    if parameters is None and version == 2:
        parameters = []
    if not isinstance(method, str):
        raise JsonError("no method")
    if isinstance(identity, bool) or not isinstance(identity, int | str):
        raise JsonError("the id is an integer or a string")
    if not isinstance(parameters, list):
        raise JsonError("the parameters are an array")
    return JsonCall(version, method, parameters, identity)


def success(call: JsonCall, value: Value) -> bytes:
    if call.version == 2:
        return _text({"jsonrpc": "2.0", "result": value, "id": call.identity})
    return _text({"result": value, "error": None, "id": call.identity})


def failure(call: JsonCall, description: list[str]) -> bytes:
    if call.version == 2:
        error: Value = {"code": 1, "message": description[0], "data": description[1:]}
        return _text({"jsonrpc": "2.0", "error": error, "id": call.identity})
    return _text({"result": None, "error": description, "id": call.identity})


def _text(value: Value) -> bytes:
    # A void result is the empty string in both transports.
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )
