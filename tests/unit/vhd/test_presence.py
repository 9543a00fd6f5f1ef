import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.vhd.errors import VhdInvalid
from reconciler.vhd.layout import ENTRIES_MAX
from reconciler.vhd.presence import Presence

BLOCKS = st.frozensets(st.integers(0, 4000), max_size=200)


def test_it_lies_as_xen_orchestra_lays_it():
    packed = Presence([0, 1, 2, 3, 4, 9]).pack(40)
    assert packed == bytes([0xF8, 0x40]) + bytes(38)  # as many bytes as entries, high bits first


@given(BLOCKS, BLOCKS, st.integers(0, 100))
def test_it_is_a_set_of_blocks(ours, theirs, room):
    entries = max(ours | theirs | {0}) + 1 + room
    one, other = Presence(ours), Presence(theirs)
    assert list(one) == sorted(ours)
    assert len(one) == len(ours)
    assert all((block in one) == (block in ours) for block in range(entries + 9))
    assert one | other == Presence(ours | theirs)
    assert (one == other) == (ours == theirs)
    packed = one.pack(entries)
    assert len(packed) == entries
    assert Presence.parse(packed, entries) == one
    assert hash(Presence.parse(packed, entries)) == hash(one)
    # one that was stored shorter lacks what is behind its end
    assert Presence.parse(packed.rstrip(b"\0"), entries) == one


@given(st.binary(max_size=64), st.integers(1, 300))
def test_no_bytes_make_a_block_beyond_the_header(data, entries):
    beyond = any(data[n >> 3] & 0x80 >> (n & 7) for n in range(entries, 8 * len(data)))
    try:
        present = Presence.parse(data, entries)
    except VhdInvalid:
        assert beyond
    else:
        assert not beyond
        assert all(block < entries for block in present)


@pytest.mark.parametrize("block", [-1, ENTRIES_MAX])
def test_a_block_of_no_disk_is_refused(block):
    with pytest.raises(VhdInvalid):
        Presence([block])
