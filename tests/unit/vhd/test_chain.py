"""Which layer supplies a block."""

from reconciler.vhd.bat import Bat
from reconciler.vhd.chain import Place, Source, all_sources, newest_sources

EMPTY = Bat.empty(4)
BASE = EMPTY.with_offsets({0: 2048, 1: 4096, 3: 8192})
DELTA = EMPTY.with_offsets({1: 512, 2: 1024})
TIP = Bat.empty(5).with_offsets({2: 1536, 4: 2560})


def test_the_newest_layer_wins() -> None:
    assert newest_sources([TIP, DELTA, BASE]) == [
        Source(0, 2, 2048),
        Source(1, 1, 512),
        Source(2, 0, 1536),
        Source(3, 2, 8192),
        Source(4, 0, 2560),
    ]


def test_all_layers_newest_first() -> None:
    assert all_sources([TIP, DELTA, BASE]) == [
        (0, [Place(2, 2048)]),
        (1, [Place(1, 512), Place(2, 4096)]),
        (2, [Place(0, 1536), Place(1, 1024)]),
        (3, [Place(2, 8192)]),
        (4, [Place(0, 2560)]),
    ]


def test_what_a_layer_holds_beyond_the_disk_is_left_out() -> None:
    assert newest_sources([DELTA, TIP]) == [Source(1, 0, 512), Source(2, 0, 1024)]
    assert newest_sources([TIP], blocks=3) == [Source(2, 0, 1536)]
    assert all_sources([TIP], blocks=3) == [(2, [Place(0, 1536)])]


def test_a_chain_without_blocks_or_layers() -> None:
    assert newest_sources([EMPTY, EMPTY]) == []
    assert newest_sources([]) == []
    assert all_sources([]) == []
