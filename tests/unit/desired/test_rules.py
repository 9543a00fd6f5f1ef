"""What our validators take, the patterns that a server is given take, too: never less."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from reconciler.desired import envelope, place_texts
from reconciler.desired.job import ScheduleSpec
from reconciler.desired.rules import VALIDATIONS, matches, one_of
from reconciler.desired.target import TargetSpec

CRON = st.lists(
    st.one_of(
        st.from_regex(r"[0-9*,/#LW-]{1,6}", fullmatch=True),
        st.sampled_from(["*", "*/5", "1-5", "MON", "Mon-Fri", "mon#2", "5L", "L", "JAN", "0", "7"]),
    ),
    min_size=5,
    max_size=5,
).map(" ".join)
TEXTS: dict[str, tuple[object, st.SearchStrategy[str]]] = {
    "name": (envelope.ObjectName, st.from_regex(r"[a-z0-9.-]{1,9}", fullmatch=True)),
    "label": (envelope.LabelName, st.from_regex(r"[a-z0-9-]{1,9}", fullmatch=True)),
    "path": (envelope.AbsolutePath, st.text("/.ab ", max_size=9).map("/".__add__)),
    "span": (envelope.Span, st.from_regex(r"([0-9]{1,3}[smhdw]){0,3}", fullmatch=True)),
    "patience": (envelope.Patience, st.sampled_from(["Never", "1h", "90s", "1d12h"])),
    "rate": (
        envelope.Rate,
        st.from_regex(r"[0-9]{1,3}(\.[0-9])? ?[KMGTP]?i?B?", fullmatch=True),
    ),
    "host": (place_texts.Host, st.text("a1.-_:[]f", min_size=1, max_size=9)),
    "export": (place_texts.Export, st.text("/.a$:é ", max_size=7).map("/".__add__)),
    "share": (place_texts.Share, st.text("ab $.é/", min_size=1, max_size=6)),
    "directory": (place_texts.Directory, st.text("/.a$é ", max_size=7)),
    "user": (place_texts.User, st.text("ab@\\é.", min_size=1, max_size=6)),
    "domain": (place_texts.Domain, st.text("ab.-_", min_size=1, max_size=6)),
    "endpoint": (
        place_texts.Endpoint,
        st.from_regex(r"https?://[a-z.\[\]:]{1,8}(:[0-9]{1,5})?/?", fullmatch=True),
    ),
    "bucket": (place_texts.Bucket, st.text("ab1.-", min_size=3, max_size=9)),
    "prefix": (place_texts.Prefix, st.text("a/.-_", min_size=1, max_size=9)),
    "region": (place_texts.Region, st.text("a-1._", min_size=1, max_size=9)),
    "nfs option": (
        place_texts.NfsOption,
        st.sampled_from(["vers=4.2", "hard", "rsize=1048576", "proto=tcp6", "clientaddr=::1"]),
    ),
    "cron": (ScheduleSpec.model_fields["cron"], CRON),
    "zone": (
        ScheduleSpec.model_fields["time_zone"],
        st.sampled_from(["UTC", "Europe/Paris", "America/Argentina/Ushuaia", "Etc/GMT+5", "GB"]),
    ),
}


def adapter(what: object) -> TypeAdapter:
    if what in ScheduleSpec.model_fields.values():
        return TypeAdapter(envelope.Annotated[str, *what.metadata])  # type: ignore[attr-defined]
    return TypeAdapter(what)


def patterns(schema: dict) -> list[str]:
    """The patterns of a schema, read back from what the server gets."""
    if "anyOf" in schema:
        schema = schema["anyOf"][0]
    found = (
        re.fullmatch(r'(?:!.* \|\| )?self\.matches\("(.*)"\)', one["rule"])
        for one in schema[VALIDATIONS]
    )
    texts = [one[1].encode().decode("unicode_escape") for one in found if one is not None]
    assert texts
    return texts


@pytest.mark.parametrize("name", TEXTS)
def test_what_a_file_may_say_an_object_may(name: str) -> None:
    what, texts = TEXTS[name]
    reader = adapter(what)
    regexes = [re.compile(one) for one in patterns(reader.json_schema())]

    @settings(max_examples=40)
    @given(texts)
    def check(text: str) -> None:
        try:
            reader.validate_python(text)
        except ValidationError:
            return
        assert all(regex.search(text) for regex in regexes)

    check()


def test_the_words_are_those_of_the_validators() -> None:
    with pytest.raises(ValidationError) as caught:
        TargetSpec.model_validate({})
    assert one_of("remoteRef", "srRef").message in str(caught.value)


def test_a_pattern_is_of_the_whole_text() -> None:
    assert matches("a", "must be a").expression == 'self.matches("^(a)$")'
