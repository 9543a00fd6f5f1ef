"""Journals are Xen Orchestra's, in both directions; nonsense is understood as "begun"."""

import json

import pytest

from reconciler.transfer.journal import MergeJournal, Step, journal_key_of, read_journal

JOURNAL = MergeJournal(("1.vhd", "2.vhd"), "uuid-1", "uuid-2", Step.BLOCKS)


def test_the_name_is_xen_orchestras():
    assert journal_key_of("a/b/20260101T000000Z.vhd") == "a/b/.20260101T000000Z.vhd.merge.json"
    assert journal_key_of("x.vhd") == ".x.vhd.merge.json"


@pytest.mark.parametrize("step", Step)
def test_round_trip(step):
    journal = MergeJournal(("1.vhd", "2.vhd", "3.vhd"), "a", "b", step)
    assert MergeJournal.parse(journal.render()) == journal


def test_what_xen_orchestra_needs_is_there():
    fields = json.loads(JOURNAL.render())
    assert fields.keys() >= {"child", "parent", "chain", "currentBlock", "mergedDataSize", "step"}
    assert fields["currentBlock"] == 0
    assert fields["child"] == {"uuid": "uuid-2"}


def test_what_old_versions_wrote_is_understood():
    content = {
        "child": {"header": 3771463542},
        "parent": {"header": 1},
        "chain": ["1.vhd", "2.vhd"],
        "currentBlock": None,
        "step": "cleanupVhds",
        "vhdSize": 7,
    }
    journal = MergeJournal.parse(json.dumps(content).encode())
    assert journal == MergeJournal(("1.vhd", "2.vhd"), "", "", Step.CLEANUP)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 100,
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b"{}",
        b'{"chain":[]}',
        b'{"chain":["1.vhd"]}',
        b'{"chain":["1.vhd",2]}',
        b'{"chain":"1.vhd,2.vhd"}',
        b'{"chain":["1.vhd","../2.vhd"]}',
        b'{"chain":["1.vhd",".."]}',
        b'{"chain":["1.vhd","a\\u0000"]}',
        b"[" * 100_000,
    ],
)
def test_nonsense_has_no_chain(content):
    assert MergeJournal.parse(content) == MergeJournal((), "", "", Step.BLOCKS)


async def test_reading(remote):
    assert await read_journal(remote, ".x.merge.json") is None
    await remote.put(".x.merge.json", JOURNAL.render())
    assert await read_journal(remote, ".x.merge.json") == JOURNAL
