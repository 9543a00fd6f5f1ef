"""Runs are read in one go and cover every record; overlaid blocks are unions."""

import pytest

from reconciler.transfer.records import RECORDS_MAX, RUN_BYTES_MAX, runs_of
from reconciler.vhd.chain import Source
from reconciler.vhd.layout import BLOCK_RECORD, SLOT, SLOT_PAD


def test_nothing():
    assert list(runs_of([])) == []


@pytest.mark.parametrize("stride", [BLOCK_RECORD, SLOT])
def test_records_that_follow_one_another_are_one_run(stride):
    sources = [Source(block, 0, 8192 + n * stride) for n, block in enumerate((3, 4, 9))]
    (run,) = runs_of(sources)
    assert run.records == ((3, 0), (4, stride), (9, 2 * stride))
    assert (run.offset, run.length) == (8192, 2 * stride + BLOCK_RECORD)


def test_a_run_has_its_limit():
    sources = [Source(n, 0, n * SLOT + SLOT_PAD) for n in range(2 * RECORDS_MAX + 1)]
    runs = list(runs_of(sources))
    assert [len(run.records) for run in runs] == [RECORDS_MAX, RECORDS_MAX, 1]
    assert all(run.length <= RUN_BYTES_MAX for run in runs)


@pytest.mark.parametrize(
    "second",
    [
        Source(1, 1, 4096 + BLOCK_RECORD),
        Source(1, 0, 4096 + BLOCK_RECORD + SLOT_PAD + 512),
        Source(1, 0, 512),
    ],
)
def test_other_files_gaps_and_steps_back_begin_a_new_run(second):
    runs = list(runs_of([Source(0, 0, 4096), second]))
    assert [run.offset for run in runs] == [4096, second.offset]
    assert [run.layer for run in runs] == [0, second.layer]
