"""What every kind of interaction must hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from mmts.interactions.base import Interaction, NodeSpec
from mmts.interactions.centring import Centring
from mmts.interactions.kinds import (
    InteractionConfig,
    build_interaction,
    list_kinds,
    takes_several_sources,
)
from mmts.testing import check_interaction
from mmts.tokens import TokenGrid, Tokens
from tests.interactions import reference

KINDS = [*list_kinds(), "weighted per token"]
TARGET, SOURCE = NodeSpec("a", 8, ageless=False), NodeSpec("b", 6, ageless=False)
THIRD, STATIC = NodeSpec("c", 10, ageless=False), NodeSpec("d", 4, ageless=True)


def configure(kind: str, nodes: Sequence[str] = ("b.1",), **settings: Any) -> InteractionConfig:
    kind, _, per_token = kind.partition(" ")
    if per_token:
        settings["weights"] = "token"
    return TypeAdapter(InteractionConfig).validate_python(
        {"kind": kind, "from": list(nodes), "to": "a.1", **settings}
    )


def build(kind: str, sources: tuple[NodeSpec, ...] = (SOURCE,), **settings: Any) -> Interaction:
    nodes = [f"{source.stream}.{place}" for place, source in enumerate(sources)]
    torch.manual_seed(0)
    edge = build_interaction(configure(kind, nodes, **settings), TARGET, sources, time_unit=1.0)
    # In training the means of sources move with every call.
    return edge.eval()


def make_tokens(dim: int, length: int, step: float, delay: float = 0.0) -> Tokens:
    """Make a batch of three windows whose tokens end at the origin."""
    end = (torch.arange(length, dtype=torch.float32) - length + 1) * step
    end = end.expand(3, -1)
    available = end + delay
    grid = TokenGrid(end - step, end, available, available <= 0)
    return Tokens(torch.randn(3, length, dim), grid)


def make_static(dim: int) -> Tokens:
    zero = torch.zeros(3, 1)
    observed = torch.tensor([[True], [False], [True]])
    return Tokens(
        torch.randn(3, 1, dim),
        TokenGrid(zero, zero, torch.full_like(zero, -torch.inf), observed, True),
    )


def hide(tokens: Tokens, windows: Any, places: Any) -> Tokens:
    observed = tokens.grid.observed.clone()
    observed[windows, places] = False
    return Tokens(tokens.values, replace(tokens.grid, observed=observed))


def scatter_in_time(tokens: Tokens, seed: int) -> Tokens:
    """Let rows become known out of order, late and early; some after the origin."""
    generator = torch.Generator().manual_seed(seed)
    delays = torch.randint(-6, 12, tokens.grid.end.shape, generator=generator)
    available = tokens.grid.end + delays
    return Tokens(tokens.values, replace(tokens.grid, available=available, observed=available <= 0))


def wake(edge: Interaction) -> Interaction:
    """Give the zero-started projection some weights, and the sources a mean."""
    for parameter in edge.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter)
    for module in edge.modules():
        if isinstance(module, Centring):
            torch.nn.init.normal_(module.mean)
    return edge


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_keeps_to_the_rules_of_all_kinds(kind: str) -> None:
    name, _, per_token = kind.partition(" ")
    check_interaction(name, **({"weights": "token"} if per_token else {}))


def test_exactly_one_factor_starts_at_zero(kind: str) -> None:
    edge = build(kind)
    starting = {name.split(".")[0] for name, p in edge.named_parameters() if not p.any()}
    assert len(starting) == 1


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "both ways"])
@pytest.mark.parametrize("max_lag", [None, "5s"])
def test_equals_the_reference_written_as_loops(
    kind: str, causal: bool, max_lag: str | None
) -> None:
    edge = wake(build(kind, causal=causal, max_lag=max_lag))
    target = hide(make_tokens(8, 5, 4.0), 1, 3)
    source = scatter_in_time(hide(make_tokens(6, 9, 1.5), 2, slice(None)), seed=2)
    expected = reference.KINDS[kind.partition(" ")[0]]
    with torch.no_grad():
        added = edge(target, [source])
        for window in range(3):
            for place in range(5):
                slow = expected(edge, target, [source], window, place)
                torch.testing.assert_close(added[window, place], slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [k for k in KINDS if takes_several_sources(configure(k))])
def test_several_sources_equal_the_reference_written_as_loops(kind: str) -> None:
    edge = wake(build(kind, (SOURCE, THIRD, STATIC, TARGET)))
    target = make_tokens(8, 5, 4.0)
    own = Tokens(torch.randn(3, 5, 8), target.grid)
    sources = [
        scatter_in_time(make_tokens(6, 9, 1.5), 2),
        make_tokens(10, 3, 7.0),
        make_static(4),
        own,
    ]
    expected = reference.KINDS[kind.partition(" ")[0]]
    with torch.no_grad():
        added = edge(target, sources)
        for window in range(3):
            for place in range(5):
                slow = expected(edge, target, sources, window, place)
                torch.testing.assert_close(added[window, place], slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "spec", [STATIC, TARGET], ids=["a static stream", "another layer of the same stream"]
)
def test_any_source_equals_the_reference_written_as_loops(kind: str, spec: NodeSpec) -> None:
    edge = wake(build(kind, (spec,)))
    target = hide(make_tokens(8, 5, 4.0, delay=2.0), 1, 3)
    source = make_static(4) if spec.ageless else Tokens(torch.randn(3, 5, 8), target.grid)
    expected = reference.KINDS[kind.partition(" ")[0]]
    with torch.no_grad():
        added = edge(target, [source])
        for window in range(3):
            for place in range(5):
                slow = expected(edge, target, [source], window, place)
                torch.testing.assert_close(added[window, place], slow, rtol=1e-4, atol=1e-5)


def test_an_absent_source_has_finite_gradients(kind: str) -> None:
    edge = wake(build(kind)).train()
    target, source = make_tokens(8, 5, 4.0), hide(make_tokens(6, 11, 1.5), slice(None), slice(None))
    values = source.values.requires_grad_()
    edge(target, [source]).square().sum().backward()
    assert values.grad is None or not values.grad.any()
    grads = [p.grad for p in edge.parameters() if p.grad is not None]
    assert all(torch.isfinite(grad).all() for grad in grads)


def test_a_token_over_the_horizon_sees_nothing_published_after_the_origin(kind: str) -> None:
    edge = wake(build(kind))
    end = torch.arange(-3.0, 5.0).expand(3, -1)
    ahead = TokenGrid(end - 1, end, torch.full_like(end, -torch.inf), end < torch.inf)
    target = Tokens(torch.randn(3, 8, 8), ahead)
    source = make_tokens(6, 12, 1.5)
    # As no window would hold it: marked as observed, though published after the origin.
    grid = replace(source.grid, available=source.grid.end + 3.0, observed=source.grid.end < 1.0)
    values = source.values.clone().requires_grad_()
    added = edge(target, [Tokens(values, grid)])
    (gradient,) = torch.autograd.grad(added.square().sum(), values)
    late = grid.available > 0
    assert late.any()
    assert not gradient[late].any()
    assert gradient[~late].any()


def test_a_largest_lag_hides_what_is_older(kind: str) -> None:
    edge = wake(build(kind, max_lag="5s"))
    target, source = make_tokens(8, 5, 4.0), make_tokens(6, 11, 1.5)
    values = source.values.clone().requires_grad_()
    added = edge(target, [Tokens(values, source.grid)])
    for place in range(5):
        (gradient,) = torch.autograd.grad(added[:, place].sum(), values, retain_graph=True)
        old = target.grid.end[:, place, None] - source.grid.end > 5.0
        assert not gradient[old].any()


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


def test_bf16_stays_near_and_its_gradients_are_finite(kind: str) -> None:
    edge = wake(build(kind))
    target, source = make_tokens(8, 5, 4.0), hide(make_tokens(6, 11, 1.5), 1, slice(None))
    exact = edge(target, [source])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = edge(target, [source])
        rough.float().square().sum().backward()
    assert not rough[1].any()
    largest = float(exact.detach().abs().max())
    torch.testing.assert_close(rough.float(), exact, rtol=0.1, atol=0.1 * largest)
    grads = [p.grad for p in edge.parameters() if p.grad is not None]
    assert grads
    assert all(torch.isfinite(grad).all() for grad in grads)


def test_shares_are_of_what_is_seen_and_sum_to_at_most_one(kind: str) -> None:
    several = takes_several_sources(configure(kind))
    edge = wake(build(kind, (SOURCE, THIRD) if several else (SOURCE,)))
    target, source = make_tokens(8, 5, 4.0), scatter_in_time(make_tokens(6, 12, 1.5), seed=1)
    sources = [source, make_tokens(10, 3, 7.0)][: 1 + several]
    shares = edge.shares(target, sources)
    assert [share.shape for share in shares] == [(3, 5, s.values.shape[1]) for s in sources]
    assert all((share >= 0).all() for share in shares)
    total = torch.cat(shares, dim=-1).sum(dim=-1)
    assert (total <= 1 + 1e-6).all()
    assert total.any()
    late = source.grid.available[:, None, :] > target.grid.own_time[:, :, None]
    assert not shares[0][late | ~source.grid.observed[:, None, :]].any()


def test_shares_of_attention_are_those_of_the_reference() -> None:
    edge = wake(build("attention"))
    target, source = make_tokens(8, 5, 4.0), make_tokens(6, 11, 1.5)
    usual = edge.gathering.centrings[0].mean
    with torch.no_grad():
        (shares,) = edge.shares(target, [source])
        for place in range(5):
            seen = reference.visible(target.grid, source.grid, edge.reach, 0, place)
            _, slow = reference.attend(
                edge.attention,
                reference.normal(target.values[0, place]),
                reference.middle(target.grid, 0, place),
                [reference.normal(source.values[0, i]) - usual for i in seen],
                [reference.middle(source.grid, 0, i) for i in seen],
            )
            torch.testing.assert_close(shares[0, place, seen], slow, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["attention", "joint", "bottleneck"])
def test_every_head_learns_from_a_source_that_is_slow(kind: str) -> None:
    edge = wake(build(kind)).train()
    hours = make_tokens(8, 24, 1.0)
    weeks = make_tokens(6, 3, 168.0, delay=30.0)
    edge(hours, [weeks]).square().sum().backward()
    (value,) = (p.grad for name, p in edge.named_parameters() if name.endswith("value.weight"))
    assert value is not None
    # The channels of one head lie together.
    assert bool((value.abs().unflatten(0, (4, -1)).amax(dim=(1, 2)) > 1e-6).all())


def test_residual_within_one_stream_and_width_scales_channels_only() -> None:
    edge = build("residual", (TARGET,))
    assert {name: p.numel() for name, p in edge.named_parameters()} == {"channel_scale": 8}


@pytest.mark.parametrize("weights", ["static", "token"])
def test_weights_that_are_told_are_those_in_use_where_a_source_has_faded_to_nothing(
    weights: str,
) -> None:
    edge = wake(build("weighted", (SOURCE, STATIC), weights=weights))
    torch.nn.init.constant_(edge.readers[0].rate, 10.0)
    target, site = make_tokens(8, 2, 4.0), make_static(4)
    end = torch.full((3, 1), -40.0)
    stale = Tokens(torch.randn(3, 1, 6), TokenGrid(end, end, end, end < 0))
    old, told = edge.shares(target, [stale, site])
    assert not old.any()
    logits = edge.logits
    if edge.gate is not None:
        said = edge.gate(reference.normal(target.values[0, 0]))
        logits = logits + said / target.values.shape[-1] ** 0.5
    # It has no share left, and yet it is there, and says how old it is.
    torch.testing.assert_close(told[0, 0, 0], logits.softmax(dim=-1)[1])


def test_weights_of_a_weighted_edge_sum_to_one_with_none_among_them() -> None:
    edge = build("weighted", (STATIC, TARGET))
    target = make_tokens(8, 5, 4.0)
    own, static = Tokens(torch.randn(3, 5, 8), target.grid), make_static(4)
    site, layer = edge.shares(target, [static, own])
    none = 1 - site.sum(dim=-1) - layer.sum(dim=-1)
    e = torch.tensor([1.0, 1.0, torch.tensor(-2.0).exp()])
    assert float(none[0, 0].detach()) == pytest.approx(float(e[2] / e.sum()))
    # Where the site is absent the others share its weight.
    assert float(none[1, 0].detach()) == pytest.approx(float(e[2] / e[1:].sum()))
    assert not site[1].any()


def test_compiled_equals_eager_and_the_switch_compiles_nothing_anew(kind: str) -> None:
    edge = wake(build(kind))
    target, source = make_tokens(8, 5, 4.0), make_tokens(6, 11, 1.5)
    torch.compiler.reset()
    compiled = torch.compile(edge, fullgraph=True, backend="eager", dynamic=False)
    torch.testing.assert_close(compiled(target, [source]), edge(target, [source]))
    with torch.compiler.set_stance("fail_on_recompile"):
        edge.scale.zero_()
        assert not compiled(target, [source]).any()
