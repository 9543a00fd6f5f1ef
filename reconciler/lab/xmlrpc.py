"""XML-RPC as XAPI speaks it: integers and strings are untyped, everything else is marked.

The reader takes all that XAPI's own takes and nothing more: no document types, no entities of
one's own, a bounded depth.
"""

from collections.abc import Callable, Mapping
from xml.parsers import expat
from xml.sax.saxutils import escape

from reconciler.lab.values import DateTime, Value

_DEPTH_MAX = 64


class XmlError(Exception):
    """A text that is no XML-RPC."""


# Characters that no XML can hold; XAPI drops them.
_DROPPED = {code: None for code in range(32) if chr(code) not in "\t\n\r"}


def _text(value: str) -> str:
    return escape(value.translate(_DROPPED), {'"': "&quot;"})


def encode(value: Value) -> str:
    """`<value>…</value>` of one value."""
    match value:
        case None:
            inside = "<nil/>"
        case bool():
            inside = f"<boolean>{int(value)}</boolean>"
        case float():
            inside = f"<double>{value:.16g}</double>"
        case DateTime():
            inside = f"<dateTime.iso8601>{value}</dateTime.iso8601>"
        case int() | str():
            inside = _text(str(value))
        case Mapping():
            members = "".join(
                f"<member><name>{_text(name)}</name>{encode(member)}</member>"
                for name, member in value.items()
            )
            inside = f"<struct>{members}</struct>"
        case _:
            inside = f"<array><data>{''.join(map(encode, value))}</data></array>"
    return f"<value>{inside}</value>"


def response(value: Value) -> bytes:
    """A whole answer."""
    body = f"<params><param>{encode(value)}</param></params>"
    return f"<?xml version='1.0'?><methodResponse>{body}</methodResponse>".encode()


def success(value: Value) -> bytes:
    return response({"Status": "Success", "Value": value})


def failure(description: list[str]) -> bytes:
    return response({"Status": "Failure", "ErrorDescription": description})


class _Node:
    __slots__ = ("children", "name", "text")

    def __init__(self, name: str) -> None:
        self.name = name
        self.text: list[str] = []
        self.children: list[_Node] = []


def _parse(body: bytes) -> _Node:
    root = _Node("")
    stack = [root]
    parser = expat.ParserCreate()

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(stack) > _DEPTH_MAX:
            raise XmlError("nested too deep")
        node = _Node(name)
        stack[-1].children.append(node)
        stack.append(node)

    def end(name: str) -> None:
        stack.pop()

    def text(piece: str) -> None:
        stack[-1].text.append(piece)

    def forbidden(*unused: object) -> None:
        raise XmlError("document types are not allowed")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = forbidden
    parser.EntityDeclHandler = forbidden
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise XmlError(str(error)) from None
    return root


def _child(node: _Node, name: str) -> _Node:
    for child in node.children:
        if child.name == name:
            return child
    raise XmlError(f"<{node.name}> has no <{name}>")


def _value(node: _Node) -> Value:
    if not node.children:
        return "".join(node.text)
    inner = node.children[0]
    text = "".join(inner.text)
    try:
        return _typed(inner, text)
    except ValueError:
        raise XmlError(f"bad <{inner.name}>: {text[:40]!r}") from None


_SCALARS: dict[str, Callable[[str], Value]] = {
    "string": str,
    "base64": str,
    "int": int,
    "i4": int,
    "i8": int,
    "double": float,
    "boolean": lambda text: bool(("0", "1").index(text.strip())),
    "dateTime.iso8601": DateTime,
    "nil": lambda text: None,
}


def _typed(inner: _Node, text: str) -> Value:
    if inner.name == "array":
        return [_value(child) for child in _child(inner, "data").children]
    if inner.name == "struct":
        return {
            "".join(_child(member, "name").text): _value(_child(member, "value"))
            for member in inner.children
        }
    if inner.name not in _SCALARS:
        raise XmlError(f"unknown type <{inner.name}>")
    return _SCALARS[inner.name](text)


def decode_value(body: bytes) -> Value:
    """One `<value>` (as in an exported VM's description)."""
    return _value(_child(_parse(body), "value"))


def decode_call(body: bytes) -> tuple[str, list[Value]]:
    """The method name and the parameters of a request."""
    call = _child(_parse(body), "methodCall")
    method = "".join(_child(call, "methodName").text).strip()
    parameters = [child for child in call.children if child.name == "params"]
    if not parameters:
        return method, []
    return method, [_value(_child(one, "value")) for one in parameters[0].children]
