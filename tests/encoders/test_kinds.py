"""What every kind of encoder must hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from mmts.data.batch import StreamWindow
from mmts.data.clock import Clock
from mmts.data.schema import ColumnSchema, StreamSchema
from mmts.encoders.base import Encoder
from mmts.encoders.kinds import EncoderConfig, build_encoder
from mmts.tokens import Tokens

HOUR = 3_600_000_000
SCHEMA = StreamSchema(
    columns=(
        ColumnSchema(name="load", role="past", type="number"),
        ColumnSchema(name="plan", role="future", type="number"),
        ColumnSchema(name="shift", role="future", type="category"),
    ),
    time="time", item=None, has_items=False, clock=Clock(every=HOUR), stamp="start", delay=0,
    known_ahead=None,
    context_steps=10, context_span=10 * HOUR, future_steps=6,
)  # fmt: skip
KINDS: list[dict[str, Any]] = [
    {"kind": "patch", "dim": 8, "num_layers": 2, "patch_length": 4},
    {"kind": "conv", "dim": 8, "num_layers": 2},
    {"kind": "conv", "dim": 6, "num_layers": 3, "layer_dims": [8, 8, 4]},
    {"kind": "mlp", "dim": 8, "num_layers": 2},
]


def build(settings: dict[str, Any]) -> Encoder:
    torch.manual_seed(0)
    config = TypeAdapter(EncoderConfig).validate_python({"dropout": 0.0, **settings})
    return build_encoder(config, SCHEMA, {"shift": 2}, time_unit=3600.0)


def make_window(seed: int = 0) -> StreamWindow:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2, 16, 3, generator=generator)
    values[..., 2] = torch.randint(0, 3, (2, 16), generator=generator).float()
    observed = torch.rand(2, 16, 3, generator=generator) < 0.7
    observed[:, 10:, 0] = False
    start = (torch.arange(16.0) - 10).expand(2, -1) * 3600
    available = torch.where(start < 0, start + 3600, -torch.inf)
    return StreamWindow(
        values.masked_fill(~observed, 0.0), observed, start, start + 3600, available
    )


def run(encoder: Encoder, window: StreamWindow) -> list[Tokens]:
    nodes = [encoder.embed(window)]
    for layer in range(1, len(encoder.layers) + 1):
        nodes.append(encoder.run_layer(layer, nodes[-1]))
    return [*nodes, encoder.run_norm(nodes[-1])]


@pytest.fixture(params=KINDS, ids=lambda settings: "-".join(map(str, settings.values())))
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found


def test_every_node_has_the_stated_width_and_one_grid(settings: dict[str, Any]) -> None:
    config = TypeAdapter(EncoderConfig).validate_python(settings)
    nodes = run(build(settings), make_window())
    dims = [node.values.shape[-1] for node in nodes]
    assert dims == [*config.node_dims(), config.node_dims()[-1]]
    for node in nodes:
        assert node.grid.end.shape == node.values.shape[:2]
        assert (node.grid.start < node.grid.end).all()
        assert (node.grid.end.diff() > 0).all()


def test_no_token_lies_across_the_origin(settings: dict[str, Any]) -> None:
    grid = build(settings).embed(make_window()).grid
    assert ((grid.end <= 0) | (grid.start >= 0)).all()
    assert not (grid.available[grid.observed] > 0).any()


def test_gradients_reach_every_weight(settings: dict[str, Any]) -> None:
    encoder = build(settings)
    (run(encoder, make_window())[-1].values ** 3).sum().backward()
    idle = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


def test_a_token_without_an_observed_value_passes_nothing_on(settings: dict[str, Any]) -> None:
    encoder = build(settings)
    window = make_window()
    observed = window.observed.clone()
    observed[:, 2:6] = False
    tokens = encoder.embed(replace(window, observed=observed))
    assert not tokens.grid.observed.all()
    values = tokens.values.detach().requires_grad_()
    output = encoder.run_layer(1, Tokens(values, tokens.grid)).values
    (gradient,) = torch.autograd.grad(output[tokens.grid.observed].pow(3).sum(), values)
    assert not gradient[~tokens.grid.observed].any()
    assert gradient[tokens.grid.observed].any()


def test_a_patch_is_available_once_the_last_of_its_rows_is() -> None:
    tokens = build(KINDS[0]).embed(make_window())
    window = make_window()
    rows = window.observed.any(-1)[:, 2:6]
    expected = window.available[:, 2:6].masked_fill(~rows, -torch.inf).amax(1)
    assert torch.equal(tokens.grid.available[:, 1], expected)


def test_categories_that_are_not_observed_have_no_effect(settings: dict[str, Any]) -> None:
    encoder = build(settings).eval()
    window = make_window()
    values = window.values.clone()
    values[..., 2] = torch.where(window.observed[..., 2], values[..., 2], 1.0)
    one, other = (
        run(encoder, replace(window, values=v))[-1].values for v in (window.values, values)
    )
    assert torch.equal(one, other)


def test_the_same_seed_gives_the_same_output(settings: dict[str, Any]) -> None:
    outputs = [run(build(settings), make_window())[-1].values for _ in range(2)]
    assert torch.equal(*outputs)


def test_one_window_does_not_touch_another(settings: dict[str, Any]) -> None:
    encoder = build(settings).eval()
    window = make_window()
    poisoned = replace(window, values=window.values.clone())
    poisoned.values[1, :, :2] *= 1e4
    assert torch.equal(run(encoder, window)[-1].values[0], run(encoder, poisoned)[-1].values[0])
