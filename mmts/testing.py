"""A check for kinds of one's own: whether they keep to what every kind of interaction must hold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from mmts.interactions.base import Interaction, NodeSpec
from mmts.interactions.kinds import InteractionConfig, build_interaction
from mmts.layers.initialisation import seeded
from mmts.tokens import TokenGrid, Tokens

_TARGET, _SOURCE = NodeSpec("a", 8, ageless=False), NodeSpec("b", 6, ageless=False)


def check_interaction(kind: str, **settings: Any) -> None:
    """Make sure that a kind does what the model and its explanations rely on.

    At first it adds exactly nothing. After two steps every weight has a gradient. A source of
    which nothing is observed adds exactly nothing. No influence, to the bit, have source tokens
    that are not observed, and for a causal edge those that came later than the token that reads.

    kind: built in, registered or installed. settings: of the edge, besides its nodes.
    Raises AssertionError, which names the rule that is broken.
    """
    edge_settings = {"kind": kind, "from": "b.0", "to": "a.1", **settings}
    config = TypeAdapter(InteractionConfig).validate_python(edge_settings)
    with seeded(0, kind):
        edge = build_interaction(config, _TARGET, [_SOURCE], time_unit=1.0).eval()
        target, source = _make_tokens(_TARGET.dim, 5, 4.0), _make_tokens(_SOURCE.dim, 12, 1.5)
        added = edge(target, [source])
        assert added.shape == target.values.shape, "it adds something of another shape"
        assert not added.any(), "it adds something at first: let the last projection begin at zero"
        idle = _learn(edge, target, source)
        assert not idle, f"weights without a gradient after two steps: {', '.join(idle)}"
        _check_absent(edge, target, source)
        _check_unseen(edge, target, source, config.causal)


def _make_tokens(dim: int, length: int, step: float) -> Tokens:
    """Make three windows whose tokens end at the origin, each known as soon as it ends."""
    end = ((torch.arange(length) - length + 1) * step).expand(3, -1)
    return Tokens(torch.randn(3, length, dim), TokenGrid(end - step, end, end, end <= 0))


def _with_grid(tokens: Tokens, available: Tensor, observed: Tensor) -> Tokens:
    return Tokens(tokens.values, replace(tokens.grid, available=available, observed=observed))


def _learn(edge: Interaction, target: Tokens, source: Tokens) -> list[str]:
    """Take two steps; returns the weights that had no gradient in the second."""
    aim = torch.randn_like(target.values)
    optimizer = torch.optim.SGD(edge.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (edge(target, [source]) - aim).square().mean().backward()
        optimizer.step()
    return [name for name, p in edge.named_parameters() if p.grad is None or not p.grad.any()]


def _check_absent(edge: Interaction, target: Tokens, source: Tokens) -> None:
    observed = source.grid.observed.clone()
    observed[1] = False
    added = edge(target, [_with_grid(source, source.grid.available, observed)])
    assert added[0].any(), "it adds nothing where it has learned"
    assert not added[1].any(), "it adds something where nothing of the source is observed"


def _check_unseen(edge: Interaction, target: Tokens, source: Tokens, causal: bool) -> None:
    # Early, late and out of order, as rows may state it themselves.
    available = source.grid.end + torch.randint(-6, 12, source.grid.end.shape)
    observed = torch.rand(available.shape) < 0.7
    seen = _with_grid(source, available, observed & (available <= 0))
    poisoned = torch.where(seen.grid.observed[..., None], seen.values, 1e3)
    added = edge(target, [seen])
    assert torch.equal(added, edge(target, [Tokens(poisoned, seen.grid)])), (
        "a source token that is not observed changes what it adds"
    )
    values = seen.values.clone().requires_grad_()
    added = edge(target, [Tokens(values, seen.grid)])
    for place in range(added.shape[1]):
        (gradient,) = torch.autograd.grad(added[:, place].sum(), values, retain_graph=True)
        hidden = ~seen.grid.observed
        if causal:
            hidden = hidden | (available > target.grid.own_time[:, place, None])
        assert not gradient[hidden].any(), (
            "a source token that is not observed, or came later than the token that reads, "
            "changes what it adds"
        )
