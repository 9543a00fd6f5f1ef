"""XML-RPC against Python's own reader and writer, which nobody here wrote."""

import xmlrpc.client

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.lab import xmlrpc as ours
from reconciler.lab.values import DateTime, Value

TEXT = st.text(
    st.characters(
        blacklist_categories=["Cs"], blacklist_characters=[*map(chr, range(32)), "\x7f"]
    ).filter(lambda c: c not in "\ufffe\uffff"),
    max_size=20,
)
VALUES = st.recursive(
    TEXT | st.booleans() | st.integers(-99999, 99999).map(lambda n: n / 1024),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_we_write_python_reads(value: Value) -> None:
    read, _ = xmlrpc.client.loads(ours.response(value), use_builtin_types=True)
    assert read == (value,)


@given(VALUES, st.integers(-(2**31), 2**31 - 1))
def test_what_python_writes_we_read(value: Value, number: int) -> None:
    text = xmlrpc.client.dumps((value, number), "VM.get_record")
    assert ours.decode_call(text.encode()) == ("VM.get_record", [value, number])


def test_forms_of_xapi() -> None:
    assert ours.encode(123) == "<value>123</value>"
    assert ours.encode(True) == "<value><boolean>1</boolean></value>"
    assert ours.encode(0.5) == "<value><double>0.5</double></value>"
    assert ours.encode('a<&>"\x07b') == "<value>a&lt;&amp;&gt;&quot;b</value>"
    moment = DateTime("20261122T20:57:53Z")
    assert ours.encode(moment) == (
        "<value><dateTime.iso8601>20261122T20:57:53Z</dateTime.iso8601></value>"
    )
    assert ours.encode(None) == "<value><nil/></value>"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<methodCall/>",
        b"<methodCall><methodName>x</methodName><params><param/></params></methodCall>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><methodCall><methodName>&a;</methodName></methodCall>',
        b"<a>" * 200 + b"</a>" * 200,
        b"<methodCall><methodName>x</methodName><params><param><value><int>x</int></value>"
        b"</param></params></methodCall>",
        b"<methodCall><methodName>x</methodName><params><param><value><boolean>2</boolean></value>"
        b"</param></params></methodCall>",
        b"<methodCall><methodName>x</methodName><params><param><value><odd>2</odd></value>"
        b"</param></params></methodCall>",
    ],
)
def test_what_is_no_call(text: bytes) -> None:
    with pytest.raises(ours.XmlError):
        ours.decode_call(text)
