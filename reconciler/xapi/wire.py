"""JSON-RPC 2.0 and task results as XAPI writes them: bytes in, values out, no network.

A call is `{"jsonrpc": "2.0", "method": "VM.get_record", "params": [session, ref], "id": 7}`. Its
answer holds `result`, or `error` as `{"code": 1, "message": CODE, "data": [params…]}`; hosts older
than XenServer 7.3 give `error` as `[CODE, params…]`. Both are understood.

The result of a *task* is XML-RPC text even on this transport: empty for nothing,
`<value>OpaqueRef:…</value>` for a reference, `<value><array><data>…` for a set.
"""

import json
from collections.abc import Sequence
from xml.etree import ElementTree

from reconciler.xapi.errors import BadAnswer, HostIsSlave, XapiFailure, redact

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
"""A value on the wire."""

_TASK_RESULT_MAX = 4 * 1024 * 1024
_DEPTH_MAX = 16


def encode_call(method: str, params: Sequence[Json], call_id: int) -> bytes:
    """Render one call."""
    call = {"jsonrpc": "2.0", "method": method, "params": list(params), "id": call_id}
    return json.dumps(call, separators=(",", ":")).encode()


def decode_answer(body: bytes, method: str, call_id: int, secrets: Sequence[str] = ()) -> Json:
    """Parse the answer to one call and return its result.

    Raises XapiFailure (HostIsSlave among them) if the pool refused, BadAnswer on anything else.
    secrets: strings that must not come out in an error.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadAnswer(f"{method}: the answer is not JSON") from error
    if not isinstance(answer, dict):
        raise BadAnswer(f"{method}: the answer is not a JSON object")
    if answer.get("id") not in (call_id, str(call_id)):
        raise BadAnswer(f"{method}: the answer belongs to another call")
    if (refusal := answer.get("error")) is not None:
        raise _failure(refusal, method, secrets)
    if "result" not in answer:
        raise BadAnswer(f"{method}: the answer has neither a result nor an error")
    result: Json = answer["result"]
    return result


def failure_of(error_info: Sequence[Json], call: str, secrets: Sequence[str] = ()) -> XapiFailure:
    """Build the failure that a list `[CODE, params…]` stands for, as in a task's `error_info`."""
    if not error_info:
        return XapiFailure("INTERNAL_ERROR", ("no error was given",), call)
    code, *params = (redact(_text(part), secrets) for part in error_info)
    if code == "SESSION_INVALID":  # its parameter is a session reference
        params = []
    kind = HostIsSlave if code == "HOST_IS_SLAVE" else XapiFailure
    return kind(code, params, call)


def _failure(error: Json, method: str, secrets: Sequence[str]) -> Exception:
    match error:
        case {"message": str(code), "data": list(params)}:
            return failure_of([code, *params], method, secrets)
        case {"message": str(code)}:
            return failure_of([code], method, secrets)
        case [str(), *_]:
            return failure_of(error, method, secrets)
        case _:
            return BadAnswer(f"{method}: the answer holds an error of no known form")


def _text(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def parse_task_result(text: str) -> Json:
    """Parse a task's result. Raises BadAnswer.

    Sets come as lists, maps as objects, and everything untyped as text.
    """
    if not text.strip():
        return ""
    if len(text) > _TASK_RESULT_MAX:
        raise BadAnswer("a task's result is larger than any result is")
    if not text.lstrip().startswith("<"):
        return text  # set by hand with task.set_result
    if "<!" in text:  # a document type could define entities that grow without end
        raise BadAnswer("a task's result holds an XML declaration that it must not hold")
    try:
        return _value(ElementTree.fromstring(text), _DEPTH_MAX)
    except (ElementTree.ParseError, RecursionError, ValueError) as error:
        raise BadAnswer("a task's result is not XML-RPC") from error


def _value(element: ElementTree.Element, depth: int) -> Json:
    if element.tag != "value" or depth == 0:
        raise ValueError("no value")
    if len(element) == 0:
        return element.text or ""
    typed = element[0]
    match typed.tag:
        case "array":
            return [_value(inner, depth - 1) for inner in typed.iterfind("data/value")]
        case "struct":
            return {
                member.findtext("name", ""): _value(member[-1], depth - 1)
                for member in typed.iterfind("member")
                if len(member)
            }
        case _:
            return _scalar(typed.tag, typed.text or "")


def _scalar(kind: str, text: str) -> Json:
    match kind:
        case "boolean":
            return text == "1"
        case "int" | "i4" | "i8":
            return int(text)
        case "double":
            return float(text)
        case "nil":
            return None
        case _:
            return text
