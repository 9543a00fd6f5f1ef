"""HTTP/1.1 requests and answers, as much as XAPI's own server has. Knows no handler."""

import base64
import binascii
import json
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from reconciler.lab.values import Value
from reconciler.lab.wire import Connection

HEAD_MAX = 64 << 10
_FIELDS_MAX = 200


class BadRequest(Exception):
    """A request that cannot be read."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `host` is the reference of the host whose address it came in at."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    host: str
    target: str
    connection: Connection

    @property
    def cookies(self) -> dict[str, str]:
        pairs = (pair.partition("=") for pair in self.headers.get("cookie", "").split(";"))
        return {name.strip(): unquote(value.strip()) for name, _, value in pairs if name.strip()}

    def argument(self, name: str) -> str:
        """A query argument, or a cookie of that name, or ""."""
        value = self.query.get(name)
        return value if value is not None else self.cookies.get(name, "")

    @property
    def content_length(self) -> int | None:
        text = self.headers.get("content-length")
        if text is None:
            return None
        if not text.isdigit() or len(text) > 19:
            raise BadRequest("bad Content-Length")
        return int(text)

    @property
    def keep_alive(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User and password of `Authorization: Basic`."""
        scheme, _, encoded = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            user, _, password = base64.b64decode(encoded.strip()).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return user, password

    def body(self, limit: int) -> bytes:
        """A whole small body.

        Raises:
            BadRequest: longer than `limit`, or of unknown length.
        """
        length = self.content_length
        if length is None:
            raise BadRequest("Content-Length is required")
        if length > limit:
            raise BadRequest("the request is too long")
        buffer = bytearray(length)
        self.connection.read_exactly(memoryview(buffer))
        return bytes(buffer)


def read_request(connection: Connection, host: str) -> Request | None:
    """The next request of a connection, None at its end.

    Raises:
        BadRequest: for what is no HTTP.
    """
    try:
        head = connection.read_head(HEAD_MAX)
    except ValueError:
        raise BadRequest("head too long") from None
    if not head:
        return None
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or len(lines) > _FIELDS_MAX:
        raise BadRequest("not an HTTP/1 request")
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    try:
        url = urlsplit(parts[1])
        query = parse_qs(url.query, keep_blank_values=True, max_num_fields=_FIELDS_MAX)
    except ValueError:
        raise BadRequest("bad URL") from None
    arguments = {name: values[0] for name, values in query.items()}
    path = unquote(url.path)
    return Request(parts[0], path, arguments, headers, host, parts[1], connection)


def head(status: str, fields: dict[str, str], version: str = "HTTP/1.1") -> bytes:
    lines = [f"{version} {status}", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


_COMMON = {
    "Access-Control-Allow-Origin": "*",
    "Cache-Control": "no-cache, no-store",
}


def answer(request: Request, body: bytes, content_type: str, *, keep: bool) -> None:
    """A whole answer of known length."""
    fields = {
        "content-type": content_type,
        "content-length": str(len(body)),
        "connection": "keep-alive" if keep else "close",
        **_COMMON,
    }
    request.connection.send(head("200 OK", fields) + body)


def error_page(status: str, text: str) -> bytes:
    """The body of an error, as XAPI writes it."""
    return f"<html><body><h1>HTTP {status}</h1>{text}</body></html>".encode()


def refuse(
    request: Request,
    status: str,
    text: str = "",
    *,
    version: str = "HTTP/1.1",
    fields: dict[str, str] | None = None,
) -> None:
    """An error before anything else was sent; the connection ends."""
    body = error_page(status, text)
    common = {"content-type": "text/html", "content-length": str(len(body))}
    lines = {**common, "connection": "close", **(fields or {}), **_COMMON}
    request.connection.send(head(status, lines, version) + body)


def answer_json(request: Request, value: Value) -> None:
    answer(request, json.dumps(value).encode(), "application/json", keep=False)
