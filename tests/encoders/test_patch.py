"""Patches of rows that stand on no clock."""

from __future__ import annotations

from dataclasses import replace

import torch

from mmts.data.batch import StreamWindow
from tests.encoders.windows import EVENTS, PLANNED, build, make_window

SETTINGS = {"kind": "patch", "dim": 4, "num_layers": 1, "patch_length": 4}


def hold_events(window: StreamWindow, hours: dict[int, float], span: float) -> StreamWindow:
    """Return a window with events at some of its places, hours after the origin, and no others."""
    times = torch.full_like(window.start, -span)
    observed = torch.zeros_like(window.observed)
    for place, hour in hours.items():
        times[:, place] = hour * 3600
        observed[:, place] = True
    return replace(window, start=times, end=times, observed=observed)


def test_a_patch_with_empty_places_stands_where_its_events_do() -> None:
    # Ten places padded to twelve: -, -, 0 to 9.
    window = hold_events(make_window(EVENTS), {7: -5.0, 8: -3.0}, span=36_000.0)
    grid = build(SETTINGS, EVENTS).embed(window).grid
    assert grid.observed[0].tolist() == [False, False, True]
    assert (grid.start[0, -1], grid.end[0, -1]) == (-5 * 3600, -3 * 3600)


def test_a_patch_of_what_is_planned_ends_with_its_last_event() -> None:
    window = hold_events(make_window(PLANNED), {10: 1.0, 11: 2.0, 14: 10.0}, span=36_000.0)
    grid = build(SETTINGS, PLANNED).embed(window).grid
    assert grid.observed[0].tolist() == [False, False, False, True, True]
    assert grid.start[0, 3:].tolist() == [3600, 36_000]
    assert grid.end[0, 3:].tolist() == [7200, 36_000]
