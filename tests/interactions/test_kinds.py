"""What every kind of interaction must hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from mmts.interactions.base import Interaction, NodeSpec
from mmts.interactions.kinds import InteractionConfig, build_interaction
from mmts.tokens import TokenGrid, Tokens

KINDS = ["residual", "film", "weighted", "weighted per token", "attention", "joint", "bottleneck"]
TARGET, SOURCE = NodeSpec("a", 8, ageless=False), NodeSpec("b", 6, ageless=False)


def build(kind: str, sources: tuple[NodeSpec, ...] = (SOURCE,), **settings: Any) -> Interaction:
    kind, _, per_token = kind.partition(" ")
    if per_token:
        settings["weights"] = "token"
    nodes = [f"{source.stream}.{place}" for place, source in enumerate(sources)]
    config = TypeAdapter(InteractionConfig).validate_python(
        {"kind": kind, "from": nodes, "to": "a.1", **settings}
    )
    torch.manual_seed(0)
    return build_interaction(config, TARGET, sources, time_unit=1.0)


def make_tokens(dim: int, length: int, step: float, delay: float = 0.0) -> Tokens:
    """Make a batch of three windows whose tokens end at the origin."""
    end = (torch.arange(length, dtype=torch.float32) - length + 1) * step
    end = end.expand(3, -1)
    available = end + delay
    grid = TokenGrid(end - step, end, available, available <= 0)
    return Tokens(torch.randn(3, length, dim), grid)


def wake(edge: Interaction) -> Interaction:
    """Give the zero-started projection some weights."""
    for parameter in edge.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter)
    return edge


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_adds_exactly_zero_at_first(kind: str) -> None:
    target, source = make_tokens(8, 5, 4.0), make_tokens(6, 11, 1.5)
    added = build(kind)(target, [source])
    assert added.shape == target.values.shape
    assert not added.any()


def test_every_weight_has_a_gradient_after_two_steps(kind: str) -> None:
    edge = build(kind)
    target, source = make_tokens(8, 5, 4.0), make_tokens(6, 11, 1.5)
    aim = torch.randn(3, 5, 8)
    optimizer = torch.optim.SGD(edge.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        ((edge(target, [source]) - aim) ** 2).mean().backward()
        gradients = {name: p.grad for name, p in edge.named_parameters()}
        optimizer.step()
    idle = [name for name, grad in gradients.items() if grad is None or not grad.any()]
    assert not idle


def test_an_absent_source_adds_exactly_nothing(kind: str) -> None:
    edge = wake(build(kind))
    target, source = make_tokens(8, 5, 4.0), make_tokens(6, 11, 1.5)
    observed = source.grid.observed.clone()
    observed[1] = False
    grid = TokenGrid(source.grid.start, source.grid.end, source.grid.available, observed)
    added = edge(target, [Tokens(source.values, grid)])
    assert not added[1].any()
    assert added[0].any()
    assert added[2].any()


def test_a_masked_token_has_no_influence(kind: str) -> None:
    edge = wake(build(kind))
    target, source = make_tokens(8, 5, 4.0), make_tokens(6, 11, 1.5)
    observed = source.grid.observed.clone()
    observed[:, 4] = False
    grid = TokenGrid(source.grid.start, source.grid.end, source.grid.available, observed)
    changed = source.values.clone()
    changed[:, 4] = 1e3
    one = edge(target, [Tokens(source.values, grid)])
    other = edge(target, [Tokens(changed, grid)])
    assert torch.equal(one, other)


def test_what_came_later_has_a_gradient_of_exactly_zero(kind: str) -> None:
    edge = wake(build(kind))
    target, source = make_tokens(8, 5, 4.0), make_tokens(6, 11, 1.5, delay=3.0)
    values = source.values.requires_grad_()
    added = edge(target, [Tokens(values, source.grid)])
    for place in range(5):
        (gradient,) = torch.autograd.grad(added[:, place].sum(), values, retain_graph=True)
        later = source.grid.available > target.grid.own_time[:, place, None]
        assert not gradient[later].any()
    assert values.shape[1] > int(later.sum(1).max())


def test_without_causal_it_may_look_at_what_came_later_in_the_window() -> None:
    edge = wake(build("attention", causal=False))
    target, source = make_tokens(8, 5, 4.0), make_tokens(6, 11, 1.5)
    values = source.values.requires_grad_()
    added = edge(target, [Tokens(values, source.grid)])
    (gradient,) = torch.autograd.grad(added[:, 0].sum(), values)
    assert gradient[:, -1].any()


def test_the_switch_takes_the_edge_out(kind: str) -> None:
    edge = wake(build(kind))
    edge.scale.zero_()
    assert not edge(make_tokens(8, 5, 4.0), [make_tokens(6, 11, 1.5)]).any()


def test_a_dropped_edge_is_cut_for_whole_windows(kind: str) -> None:
    edge = wake(build(kind, dropout=0.5)).train()
    target, source = make_tokens(8, 5, 4.0), make_tokens(6, 11, 1.5)
    torch.manual_seed(3)
    cut = [bool(window.any()) for _ in range(8) for window in edge(target, [source])]
    assert 0 < sum(cut) < len(cut)


def test_one_token_on_either_side_is_enough(kind: str) -> None:
    added = wake(build(kind))(make_tokens(8, 1, 4.0), [make_tokens(6, 1, 1.0)])
    assert added.shape == (3, 1, 8)
    assert torch.isfinite(added).all()


def test_residual_within_one_stream_and_width_scales_channels_only() -> None:
    edge = build("residual", (TARGET,))
    assert {name: p.numel() for name, p in edge.named_parameters()} == {"channel_scale": 8}


def test_a_causal_edge_has_no_gradient_for_what_was_published_later(kind: str) -> None:
    edge = wake(build(kind))
    target, source = make_tokens(8, 5, 4.0), make_tokens(6, 12, 1.5)
    # Out of order, late and early, as rows state it themselves; some after the origin.
    generator = torch.Generator().manual_seed(1)
    available = source.grid.end + torch.randint(-6, 12, (3, 12), generator=generator)
    grid = TokenGrid(source.grid.start, source.grid.end, available, available <= 0)
    values = source.values.clone().requires_grad_()
    added = edge(target, [Tokens(values, grid)])
    reached = False
    for token in range(5):
        (gradient,) = torch.autograd.grad(added[:, token].sum(), values, retain_graph=True)
        late = available > target.grid.own_time[:, token, None]
        assert late.any()
        assert not gradient[late].any()
        reached |= bool(gradient.any())
    assert reached
