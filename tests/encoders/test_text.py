"""The encoder for text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmts.config import load_config
from mmts.encoders.text import TextEncoder
from mmts.errors import ConfigError
from tests.encoders.windows import EVENTS, build, make_schema, make_window, run
from tests.factories import make_settings, write_config

SETTINGS = {"kind": "text", "dim": 8, "num_layers": 1, "bottleneck_dim": 2}


def test_a_text_passes_through_the_bottleneck() -> None:
    encoder = build(SETTINGS, EVENTS)
    assert isinstance(encoder, TextEncoder)
    (bottleneck,) = encoder.bottlenecks
    window = make_window(EVENTS)
    values = window.values.clone()
    # A direction that the bottleneck does not keep.
    weight = bottleneck.get_parameter("weight").detach()
    lost = torch.linalg.svd(weight).Vh[-1]
    values[..., 3:] += 3 * lost * window.observed[..., 3:]
    one, other = (encoder.embed(w).values for w in (window, replace(window, values=values)))
    torch.testing.assert_close(one, other)


def test_channels_of_a_text_are_left_out_in_training_alone() -> None:
    encoder = build({**SETTINGS, "text_dropout": 0.5}, EVENTS)
    window = make_window(EVENTS)
    assert not torch.equal(encoder.embed(window).values, encoder.embed(window).values)
    encoder.eval()
    assert torch.equal(encoder.embed(window).values, encoder.embed(window).values)


def test_texts_look_at_each_other_by_the_time_between_them() -> None:
    encoder = build(SETTINGS, EVENTS)
    window = make_window(EVENTS)
    tokens = encoder.embed(window)
    grid = tokens.grid
    later = replace(grid, start=grid.start + 7200, end=grid.end + 7200)
    apart = replace(grid, start=2 * grid.start, end=2 * grid.end)
    base, moved, stretched = (
        encoder.run_layer(1, replace(tokens, grid=g)).values for g in (grid, later, apart)
    )
    assert not torch.equal(base, stretched)
    # The null key stands at no time, so only nearly.
    assert (base - moved).abs().max() < (base - stretched).abs().max()


def test_a_stream_of_text_alone_is_read() -> None:
    schema = make_schema(columns=EVENTS.columns[3:], clock=None, stamp="event", future_steps=0)
    window = make_window(EVENTS)
    window = replace(window, values=window.values[..., 3:], observed=window.observed[..., 3:])
    assert run(build(SETTINGS, schema), window)[-1].values.isfinite().all()


def test_a_stream_without_text_is_refused(tmp_path: Path) -> None:
    settings = make_settings()
    settings["model"]["encoders"]["weather"] = {"kind": "text", "num_layers": 2}
    settings["model"]["encoders"]["news"] = {"kind": "text", "num_layers": 1}
    with pytest.raises(ConfigError) as caught:
        load_config(write_config(tmp_path, settings))
    told = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in told] == [
        "model.encoders.weather",
        "model.encoders.news",
    ]
    assert "List them under 'text' of the stream, or choose another kind." in told[0]
