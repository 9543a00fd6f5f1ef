"""What a server can check of an object by itself: rules in CEL, the other half of our validators.

A rule stands beside the validator that says the same of a file, in nearly the same words: who is
refused by `kubectl apply` reads which field is wrong and what would be right. Where the two cannot
be the same, the server's rule is the wider one, and the operator says the rest in the status.

Expressions are those of Kubernetes 1.30 and newer. Texts and lists have bounds, because a server
takes no rule whose worst case costs too much.
"""

import json
from dataclasses import dataclass

from pydantic import WithJsonSchema

VALIDATIONS = "x-kubernetes-validations"


@dataclass(frozen=True, slots=True)
class Rule:
    """expression: in CEL, true of what is right. field: the one to blame, as ".name", if any."""

    expression: str
    message: str
    field: str = ""

    def schema(self) -> dict[str, object]:
        blamed = {"fieldPath": self.field} if self.field else {}
        return {"rule": self.expression, "message": self.message, **blamed}


def one_of(*fields: str) -> Rule:
    """Exactly one of these fields is there."""
    given = ", ".join(f"has(self.{field})" for field in fields)
    listed = ", ".join(fields[:-1])
    return Rule(
        f"[{given}].exists_one(given, given)", f"must have exactly one of {listed} and {fields[-1]}"
    )


def matches(pattern: str, message: str) -> Rule:
    """The whole text is like the pattern, which must mean the same to RE2 and to Python."""
    return Rule(f"self.matches({json.dumps(f'^({pattern})$')})", message)


def text_schema(*rules: Rule, longest: int, shortest: int = 0) -> WithJsonSchema:
    """A text of so many characters that keeps these rules."""
    schema: dict[str, object] = {"type": "string", "maxLength": longest}
    if shortest:
        schema["minLength"] = shortest
    return WithJsonSchema({**schema, VALIDATIONS: [rule.schema() for rule in rules]})
