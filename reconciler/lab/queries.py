"""The filter language of `get_all_where` and `get_all_records_where`, as far as clients use it.

expression := or ; or := and ("or" and)* ; and := not ("and" not)*
not := "not" not | "(" or ")" | comparison | "true" | "false"
comparison := field "<string>" name, quoted by " or ', compared with = to a literal
"""

import re
from collections.abc import Callable

from reconciler.lab.database import Row
from reconciler.lab.failures import Failure

_TOKEN = re.compile(r"""\s*(?:(?P<word>\w+)|(?P<string>"[^"]*"|'[^']*')|(?P<sign>[()=]))""")
_DEPTH_MAX = 50

_Test = Callable[[Row], bool]


def matches(expression: str, row: Row) -> bool:
    """Whether the expression holds for an object."""
    return _Parser(expression).parse()(row)


class _Parser:
    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens: list[str] = []
        position = 0
        text = expression.rstrip()
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise self._error()
            self._tokens.append(match.group().strip())
            position = match.end()
        self._next = 0
        self._depth = 0

    def _error(self) -> Failure:
        return Failure("INTERNAL_ERROR", f"Db_filter.Expression_error({self._expression!r})")

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        if not token:
            raise self._error()
        self._next += 1
        return token

    def parse(self) -> _Test:
        test = self._either()
        if self._peek():
            raise self._error()
        return test

    def _either(self) -> _Test:
        tests = [self._both()]
        while self._peek() == "or":
            self._take()
            tests.append(self._both())
        return lambda row: any(test(row) for test in tests)

    def _both(self) -> _Test:
        tests = [self._single()]
        while self._peek() == "and":
            self._take()
            tests.append(self._single())
        return lambda row: all(test(row) for test in tests)

    def _single(self) -> _Test:
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise self._error()
        token = self._take()
        if token == "not":
            inner = self._single()
            return lambda row: not inner(row)
        if token == "(":
            grouped = self._either()
            if self._take() != ")":
                raise self._error()
            return grouped
        if token in ("true", "false") and self._peek() != "=":
            return lambda row: token == "true"
        return self._comparison(token)

    def _comparison(self, token: str) -> _Test:
        field = token[1:-1] if token[0] in "\"'" else token
        if field.startswith("field "):
            field = field.removeprefix("field ")
        elif token == "field":
            named = self._take()
            field = named[1:-1] if named[0] in "\"'" else named
        if self._take() != "=":
            raise self._error()
        literal = self._take()
        wanted = literal[1:-1] if literal[0] in "\"'" else literal
        field = field.replace("__", "_")

        def test(row: Row) -> bool:
            if field not in row.table.fields:
                raise self._error()
            value = row.value(field)
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            return shown == wanted

        return test
