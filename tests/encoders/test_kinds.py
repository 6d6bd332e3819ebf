"""What every kind of encoder must hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from mmts.data.batch import StreamWindow
from mmts.data.schema import StreamSchema
from mmts.encoders.base import Encoder
from mmts.encoders.kinds import ENCODERS, EncoderConfig
from mmts.tokens import Tokens
from tests.encoders.windows import (
    REGULAR,
    SCHEMAS,
    build,
    make_window,
    read_config,
    run,
)

KINDS: list[dict[str, Any]] = [
    {"kind": "patch", "dim": 8, "num_layers": 2, "patch_length": 4},
    {"kind": "conv", "dim": 8, "num_layers": 2},
    {"kind": "conv", "dim": 6, "num_layers": 3, "layer_dims": [8, 8, 4]},
    {"kind": "recurrent", "dim": 8, "num_layers": 2},
    {"kind": "linear", "dim": 8, "num_layers": 2},
    {"kind": "mlp", "dim": 8, "num_layers": 2},
    {"kind": "variate", "dim": 8, "num_layers": 2},
    {"kind": "text", "dim": 8, "num_layers": 2, "bottleneck_dim": 3},
]
A_TOKEN_PER_STEP = [kind for kind in KINDS if kind["kind"] not in ("patch", "variate")]


def name_of(settings: dict[str, Any]) -> str:
    return "-".join(map(str, settings.values()))


@pytest.fixture(params=KINDS, ids=name_of)
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found


@pytest.fixture(params=SCHEMAS.values(), ids=SCHEMAS)
def schema(request: pytest.FixtureRequest) -> StreamSchema:
    found: StreamSchema = request.param
    return found


def loss_of(nodes: list[Tokens]) -> Tensor:
    # Cubed, as the final norm gives every token the same sum and the same sum of squares.
    return (nodes[-1].values ** 3).sum()


def absent(window: StreamWindow) -> StreamWindow:
    return replace(
        window,
        values=torch.zeros_like(window.values),
        observed=torch.zeros_like(window.observed),
    )


def test_every_config_has_an_encoder_and_is_tested_here() -> None:
    configs = set(get_args(get_args(EncoderConfig)[0]))
    assert set(ENCODERS) == configs
    assert {type(read_config(settings)) for settings in KINDS} == configs


def test_every_node_has_the_stated_width_and_one_grid(
    settings: dict[str, Any], schema: StreamSchema
) -> None:
    nodes = run(build(settings, schema), make_window(schema))
    config = read_config(settings)
    dims = [node.values.shape[-1] for node in nodes]
    assert dims == [*config.node_dims(), config.node_dims()[-1]]
    for node in nodes:
        grid = node.grid
        for part in (grid.start, grid.end, grid.available, grid.observed):
            assert part.shape == node.values.shape[:2]
        assert grid.ageless == schema.is_static
        assert (grid.start < grid.end).all() or not schema.is_regular
        for window, is_read in enumerate(grid.observed):
            start, end = grid.start[window, is_read], grid.end[window, is_read]
            assert (start <= end).all()
            assert (end.diff() >= 0).all()


def test_a_token_is_as_old_as_the_newest_value_in_it(settings: dict[str, Any]) -> None:
    window = make_window()
    grid = build(settings).embed(window).grid
    assert not (grid.available[grid.observed] > 0).any()
    if settings["kind"] != "variate":
        # The tokens of columns stand over the whole window.
        assert ((grid.end <= 0) | (grid.start >= 0)).all()
    newest = window.available.masked_fill(~window.observed.any(-1), -torch.inf).amax(1)
    assert torch.equal(grid.available.masked_fill(~grid.observed, -torch.inf).amax(1), newest)


def test_gradients_reach_every_weight_within_two_steps(
    settings: dict[str, Any], schema: StreamSchema
) -> None:
    encoder = build(settings, schema)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=1e-3)
    for seed in range(2):
        optimizer.zero_grad()
        loss_of(run(encoder, make_window(schema, seed))).backward()
        optimizer.step()
    idle = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


def test_layers_that_nothing_reads_can_be_left_out(settings: dict[str, Any]) -> None:
    encoder, whole = build(settings), build(settings)
    encoder.keep(1, with_norm=False)
    nodes = run(encoder, make_window())
    assert torch.equal(nodes[-1].values, run(whole, make_window())[1].values)
    loss_of(nodes).backward()
    assert all(p.grad is not None and p.grad.any() for p in encoder.parameters())


def test_a_token_without_an_observed_value_passes_nothing_on(settings: dict[str, Any]) -> None:
    encoder = build(settings)
    window = make_window()
    observed = window.observed.clone()
    observed[:, 2:6] = False
    observed[..., 0] = False
    tokens = encoder.embed(replace(window, observed=observed))
    assert not tokens.grid.observed.all()
    values = tokens.values.detach().requires_grad_()
    for layer in range(1, len(encoder.layers) + 1):
        output = encoder.run_layer(layer, Tokens(values, tokens.grid)).values
        (gradient,) = torch.autograd.grad(output[tokens.grid.observed].pow(3).sum(), values)
        assert not gradient[~tokens.grid.observed].any()
        assert gradient[tokens.grid.observed].any()
        values = output.detach().requires_grad_()


def test_values_that_are_not_observed_have_no_effect(
    settings: dict[str, Any], schema: StreamSchema
) -> None:
    encoder = build(settings, schema)
    window = make_window(schema)
    values = torch.where(window.observed, window.values, torch.nan).requires_grad_()
    nodes = run(encoder, replace(window, values=values))
    assert torch.equal(nodes[-1].values, run(encoder, window)[-1].values)
    loss_of(nodes).backward()
    assert values.grad is not None
    assert values.grad.isfinite().all()
    assert not values.grad[~window.observed].any()
    assert values.grad[window.observed].any()
    assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None)


@pytest.mark.parametrize("is_half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("is_absent", [False, True], ids=["present", "absent"])
def test_outputs_and_gradients_are_finite(
    settings: dict[str, Any], schema: StreamSchema, is_half: bool, is_absent: bool
) -> None:
    encoder = build(settings, schema)
    window = make_window(schema)
    with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
        nodes = run(encoder, absent(window) if is_absent else window)
    assert all(node.values.isfinite().all() for node in nodes)
    loss_of(nodes).backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None)


def test_half_precision_is_close_to_full(settings: dict[str, Any]) -> None:
    encoder = build(settings).eval()
    full = run(encoder, make_window())[-1].values
    with torch.autocast("cpu", torch.bfloat16):
        half = run(encoder, make_window())[-1].values
    assert (half.float() - full).abs().max() < 0.1


def test_the_same_seed_gives_the_same_output(settings: dict[str, Any]) -> None:
    outputs = [run(build(settings), make_window())[-1].values for _ in range(2)]
    assert torch.equal(*outputs)


def test_saved_and_loaded_it_gives_the_same_output(settings: dict[str, Any]) -> None:
    one, other = build(settings, seed=0).eval(), build(settings, seed=1).eval()
    before = run(other, make_window())[-1].values
    other.load_state_dict(load(save(one.state_dict())))
    after = run(other, make_window())[-1].values
    assert torch.equal(after, run(one, make_window())[-1].values)
    assert not torch.equal(after, before)


def test_one_window_does_not_touch_another(settings: dict[str, Any]) -> None:
    encoder = build(settings)
    window = make_window()
    poisoned = replace(window, values=window.values.clone())
    poisoned.values[1, :, :2] *= 1e4
    assert torch.equal(run(encoder, window)[-1].values[0], run(encoder, poisoned)[-1].values[0])


@pytest.mark.parametrize("settings", A_TOKEN_PER_STEP, ids=name_of)
def test_a_later_step_moves_no_earlier_token_of_a_causal_kind(settings: dict[str, Any]) -> None:
    encoder = build(settings)
    window = make_window()
    changed = replace(window, values=window.values.clone(), observed=window.observed.clone())
    changed.observed[:, 12:] = ~window.observed[:, 12:]
    changed.values[:, 12:] = torch.where(changed.observed[:, 12:], 1.0, 0.0)
    for one, other in zip(run(encoder, window), run(encoder, changed), strict=True):
        is_same = torch.equal(one.values[:, :12], other.values[:, :12])
        assert is_same or not encoder.causal
    # And what looks both ways says so.
    assert is_same == encoder.causal


@pytest.mark.slow
def test_compiled_it_equals_itself(settings: dict[str, Any]) -> None:
    encoder = build(settings).eval()
    window = make_window()

    def run_whole(window: StreamWindow) -> tuple[Tensor, ...]:
        return tuple(node.values for node in run(encoder, window))

    torch._dynamo.reset()
    compiled = torch.compile(run_whole, fullgraph=True, dynamic=False, backend="aot_eager")
    for found, expected in zip(compiled(window), run_whole(window), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_every_kind_says_whether_it_is_causal(settings: dict[str, Any]) -> None:
    encoder: Encoder = build(settings)
    assert encoder.causal == (settings["kind"] in ("recurrent", "mlp"))
    assert encoder.schema == REGULAR
