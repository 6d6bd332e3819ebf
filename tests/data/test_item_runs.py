"""Items looked at in runs, against loops over one item at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mmts.data.table
from mmts.data.clock import Clock
from mmts.data.detection import FoundClock, faults_of_proportion, first_off_grid
from mmts.data.detection import item_with_other_period as other_period
from mmts.data.table import Table
from tests.data.test_windows import RandomStream, random_streams

MINUTE = 60_000_000
ITEMS = tuple("abcdef")


@st.composite
def random_tables(draw: st.DrawFn) -> Table:
    """Draw items of any length, some of them taken out, whose steps are mostly the same."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    own = random.choice([[1, 1, 1, 2], [1, 1, 2, 2], [2, 2, 3, 1], [1, 2, 3, 4]], axis=0)
    unit = draw(st.sampled_from([MINUTE, MINUTE, MINUTE + 1]))
    lengths = random.integers(1, 9, len(ITEMS))
    times = [np.cumsum(random.choice(own, length)) * unit for length in lengths]
    end = np.cumsum(lengths)
    table = Table(
        source="random",
        items=ITEMS,
        begin=end - lengths,
        end=end,
        times=np.concatenate(times),
        columns={"y": np.zeros(int(end[-1]))},
        has_time_zone=False,
    )
    return table.select([item for item in ITEMS if random.random() < 0.8] or ["c"])


@given(table=random_tables(), run=st.sampled_from([1, 4, 1000]))
@settings(deadline=None, max_examples=200)
def test_runs_hold_every_item_once_and_find_what_a_loop_finds(table: Table, run: int) -> None:
    assert table.times is not None
    assert table.items is not None
    clock = FoundClock(Clock(every=MINUTE), "start")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmts.data.table, "RUN", run)
        runs = list(table.iterate_runs())
        found = (first_off_grid(table, clock), other_period(table, clock))
        patch.setattr("mmts.data.detection.MAX_GRID_GROWTH", 0)
        patch.setattr("mmts.data.detection.MIN_GRID", 5)
        far = faults_of_proportion(table, clock, None)
    items = [
        (table.items[item], slice(here.rows.start + first, here.rows.start + last + 1))
        for here in runs
        for item, first, last in zip(here.items, here.first, here.last, strict=True)
    ]
    own = list(table.iterate_items())
    assert items == own
    assert all(len(here.items) == 1 or here.lengths.sum() <= run for here in runs)
    steps = [np.diff(table.times[rows]) for _, rows in own]
    np.testing.assert_array_equal(
        np.concatenate([here.steps(table.times[here.rows]) for here in runs]),
        np.concatenate(steps),
    )
    assert found == (off_grid(table), other_by_loop(table))
    assert bool(far) == any((table.times[r][-1] - table.times[r][0]) // MINUTE > 5 for _, r in own)


@given(drawn=random_streams())
@settings(deadline=None, max_examples=100)
def test_streams_are_laid_out_alike_however_many_items_are_taken_together(
    drawn: RandomStream,
) -> None:
    together = drawn.build()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmts.data.table, "RUN", 1)
        alone = drawn.build()
    for name in ("values", "observed", "begin", "end", "first_time", "event_times", "available"):
        assert torch.equal(getattr(together, name), getattr(alone, name)), name


def off_grid(table: Table) -> int | None:
    """Return the first row that stands beside its item's grid."""
    assert table.times is not None
    for _, rows in table.iterate_items():
        off = (table.times[rows] - table.times[rows.start]) % MINUTE != 0
        places = (table.times[rows] - table.times[rows.start]) // MINUTE
        off[1:] |= np.diff(places) == 0
        if off.any():
            return int(rows.start) + int(off.argmax())
    return None


def other_by_loop(table: Table) -> tuple[str | None, str] | None:
    """Return the first item with another step that is more frequent, and that step."""
    assert table.times is not None
    for item, rows in table.iterate_items():
        steps, counts = np.unique(np.diff(table.times[rows]), return_counts=True)
        if len(steps) and counts.max() > 1 and steps[counts.argmax()] != MINUTE:
            return item, str(Clock(every=int(steps[counts.argmax()])))
    return None
