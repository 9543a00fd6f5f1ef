"""Text from outside made fit for a terminal: what a VM is named must not move the cursor.

Names come from pools, remotes and files; anyone who may name a VM may put control characters in
it. Knows characters; never tables or messages.
"""

import unicodedata

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Controls, invisible format and direction marks, lone surrogates, line and paragraph ends."""


def escape(text: str) -> str:
    """Replace every character that could do more than be seen by its escape, as in `\\x1b`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def escape_lines(text: str) -> str:
    """As `escape`, but newlines stay: for texts of several lines that we laid out ourselves."""
    return "\n".join(escape(line) for line in text.split("\n"))


def _escaped(character: str) -> str:
    if unicodedata.category(character) in _UNSAFE:
        return character.encode("unicode_escape").decode("ascii")
    return character
