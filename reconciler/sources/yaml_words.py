"""What a YAML scanner complains about, in words that help; never a piece of the text itself.

The table is matched against ruamel's own messages. What is not in it, is "not YAML": its message
could quote what stands in the file, and that could be a password.
"""

import re

_INDENT = "lines of one mapping or list begin in the same column; indent with spaces"

_WORDS: tuple[tuple[str, str, str], ...] = (
    (
        r"mapping values are not allowed",
        "a colon that cannot stand here",
        "check the indentation of this line, and quote text that contains a colon",
    ),
    (
        r"found character '\\t'",
        "a tab where only spaces can stand",
        "indent with spaces",
    ),
    (
        r"found character '([@`%|>&*!?,\[\]{}])' that cannot start",
        "text cannot begin with {0}",
        "put it in quotes",
    ),
    (
        r"unexpected end of stream|unexpected document separator",
        "a quote that is opened here and never closed",
        "close it, or double a quote that belongs to the text",
    ),
    (
        r"sequence entries are not allowed",
        "a list item cannot stand here",
        "each item goes on a line of its own, in one column",
    ),
    (r"expected <block end>", "this line does not fit to those above it", _INDENT),
    (r"could not find expected ':'", "neither a field nor a list item", "write name: value"),
    (
        r"expected ',' or '([\]}])', but got",
        "a list or mapping in brackets goes wrong here, or before",
        "separate items by commas and close what is open with {0}",
    ),
    (r"expected the node content", "a value is missing, or begins with a special character", ""),
    (
        r"unknown escape character|escape sequence",
        "a backslash that means nothing",
        "double the backslash, or use 'single quotes'",
    ),
    (
        r"chomping or indentation indicators|expected a comment or a line break",
        "nothing can follow | or > on its line",
        "begin the text on the next line, indented; or quote it",
    ),
    (r"undefined tag handle|expected URI|scanning a tag", "tags are not supported", ""),
    (r"more indented follow up line", "the text is indented unevenly", _INDENT),
)


def in_words(complaint: str) -> tuple[str, str]:
    """Return a message and a hint for one of ruamel's messages."""
    for pattern, message, hint in _WORDS:
        match = re.search(pattern, complaint)
        if match:
            return message.format(*match.groups()), hint.format(*match.groups())
    return "this is not YAML", _INDENT
