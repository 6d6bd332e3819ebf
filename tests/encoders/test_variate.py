"""The encoder whose tokens are columns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mmts.data.schema import StreamSchema
from mmts.encoders.variate import VariateEncoder
from tests.encoders.windows import EVENTS, REGULAR, STATIC, build, make_window, run

SETTINGS = {"kind": "variate", "dim": 8, "num_layers": 2}
CHANNELS = [slice(0, 1), slice(1, 2), slice(2, 3), slice(3, 8)]


@pytest.mark.parametrize("schema", [REGULAR, EVENTS, STATIC], ids=["regular", "events", "static"])
@pytest.mark.parametrize("column", range(4))
def test_the_token_of_a_column_is_made_of_that_column_alone(
    schema: StreamSchema, column: int
) -> None:
    encoder = build(SETTINGS, schema)
    window = make_window(schema)
    changed = replace(window, values=window.values.clone(), observed=window.observed.clone())
    place = CHANNELS[column]
    changed.observed[..., place] = ~window.observed[..., place]
    changed.values[..., place] = torch.where(changed.observed[..., place], 1.0, 0.0)
    one, other = run(encoder, window), run(encoder, changed)
    moved = (one[0].values != other[0].values).any(dim=-1)
    assert moved[:, column].all()
    assert moved.sum() == 2
    if schema is REGULAR:
        assert (one[1].values != other[1].values).any(dim=-1).all()


def test_a_token_stands_over_the_window_and_is_known_once_its_newest_value_is() -> None:
    window = make_window()
    observed = window.observed.clone()
    observed[:, 7:, 0] = False
    observed[..., 3:] = False
    grid = build(SETTINGS).embed(replace(window, observed=observed)).grid
    assert (grid.start == -10 * 3600).all()
    assert (grid.end == 6 * 3600).all()
    assert grid.observed.tolist() == [[True, True, True, False]] * 2
    newest = window.available[:, :7].masked_fill(~observed[:, :7, 0], -torch.inf).amax(1)
    assert torch.equal(grid.available[:, 0], newest)
    assert (grid.available[:, 3] == -torch.inf).all()


def test_numbers_share_what_a_history_means() -> None:
    encoder = build(SETTINGS)
    assert isinstance(encoder, VariateEncoder)
    window = make_window()
    same = replace(window, values=window.values.clone(), observed=window.observed.clone())
    same.values[..., 1], same.observed[..., 1] = same.values[..., 0], same.observed[..., 0]
    tokens = encoder.embed(same).values - encoder.column
    torch.testing.assert_close(tokens[:, 0], tokens[:, 1])


def test_the_age_of_an_event_counts_only_where_the_column_has_a_value() -> None:
    encoder = build(SETTINGS, EVENTS)
    window = make_window(EVENTS)
    observed = window.observed.clone()
    observed[:, 5, 0], observed[:, 5, 1] = False, True
    window = replace(window, observed=observed)
    start = window.start.clone()
    start[:, 5] += 900.0
    one, other = (encoder.embed(w).values for w in (window, replace(window, start=start)))
    assert torch.equal(one[:, 0], other[:, 0])
    assert not torch.equal(one[:, 1], other[:, 1])
