"""The decoder: what each forecast step reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

import pytest
import torch

from mmts.heads.covering import FEW_STEPS, read_by_order, read_by_overlap, read_steps
from mmts.heads.decoder import HorizonDecoder
from mmts.interactions.base import NodeSpec
from mmts.tokens import TokenGrid, Tokens

HORIZON = 4


Specs = Mapping[str, NodeSpec]


def make_decoder(specs: tuple[Specs, Specs], max_queries: int) -> HorizonDecoder:
    return HorizonDecoder(
        HORIZON, 8, *specs, num_heads=2, dropout=0.0, time_unit=1.0, max_queries=max_queries
    )


def make_tokens(start: float, step: float, length: int, dim: int) -> Tokens:
    begin = (start + step * torch.arange(length, dtype=torch.float32)).expand(2, -1)
    observed = torch.ones(2, length, dtype=torch.bool)
    grid = TokenGrid(begin, begin + step, torch.full_like(begin, -torch.inf), observed)
    return Tokens(torch.randn(2, length, dim), grid)


EDGES = torch.arange(HORIZON + 1, dtype=torch.float32).expand(2, -1)


def weights(future: Tokens) -> torch.Tensor:
    """Return the weight of each token in what a step reads, (horizon, token)."""
    one_hot = torch.eye(future.values.shape[1]).expand(2, -1, -1)
    return read_steps(EDGES, Tokens(one_hot, future.grid))[0]


def test_each_step_reads_the_future_tokens_that_cover_it() -> None:
    same_rate = weights(make_tokens(-2, 1, 6, 3))
    assert torch.equal(same_rate[:, 2:], torch.eye(HORIZON))
    coarse = weights(make_tokens(-2, 2, 3, 3))
    assert coarse.argmax(-1).tolist() == [1, 1, 2, 2]
    fine = weights(make_tokens(0, 0.5, 8, 3))
    assert fine[1].tolist() == [0, 0, 0.5, 0.5, 0, 0, 0, 0]


def test_an_event_belongs_to_the_step_in_which_it_begins() -> None:
    instants = make_tokens(0, 1, 4, 3)
    grid = instants.grid
    events = TokenGrid(grid.start, grid.start, grid.available, grid.observed)
    assert torch.equal(weights(Tokens(instants.values, events)), torch.eye(HORIZON))


def test_a_step_beyond_what_is_known_reads_nothing() -> None:
    short = weights(make_tokens(-2, 1, 4, 3))
    assert not short[2:].any()


@pytest.mark.parametrize("read_by", [read_by_order, read_by_overlap])
@pytest.mark.parametrize("seed", range(3))
def test_both_ways_read_the_mean_of_what_overlaps(
    read_by: Callable[[torch.Tensor, Tokens], torch.Tensor], seed: int
) -> None:
    torch.manual_seed(seed)
    edges = torch.randint(0, 4, (3, 6)).cumsum(dim=1).float()
    # In no order, of any length, some of none, and many that begin or end at the same moment.
    begin = torch.randint(-3, 12, (3, 20)).float()
    end = begin + torch.randint(0, 4, (3, 20))
    grid = TokenGrid(begin, end, torch.zeros_like(begin), torch.rand(3, 20) < 0.7)
    tokens = Tokens(torch.randn(3, 20, 5), grid)
    read = read_by(edges, tokens)
    for window, step in product(range(3), range(5)):
        low, high = edges[window, step], edges[window, step + 1]
        chosen = grid.observed[window] & (begin[window] < high)
        chosen &= (end[window] > low) | (begin[window] >= low)
        mean = tokens.values[window, chosen].mean(dim=0) if chosen.any() else torch.zeros(5)
        assert torch.allclose(read[window, step], mean, atol=1e-6)


def test_a_step_that_one_token_covers_reads_it_to_the_bit() -> None:
    torch.manual_seed(0)
    tokens = make_tokens(-2, 1, 6, 3)
    tokens.values.mul_(torch.tensor([1e-3, 1.0, 1e3]))
    assert read_by_order(EDGES, tokens).equal(tokens.values[:, 2:])
    assert read_by_overlap(EDGES, tokens).equal(tokens.values[:, 2:])


def test_a_long_horizon_reads_what_a_short_one_does() -> None:
    torch.manual_seed(0)
    tokens = make_tokens(-20, 1.3, 100, 3)
    edges = torch.arange(FEW_STEPS + 2, dtype=torch.float32).expand(2, -1)
    long, short = read_steps(edges, tokens), read_steps(edges[:, :-1], tokens)
    assert torch.allclose(long[:, :-1], short, atol=1e-6)


@pytest.mark.parametrize("max_queries", [4, 3, 2, 1])
def test_a_query_that_stands_for_several_steps_knows_the_future_of_each(max_queries: int) -> None:
    torch.manual_seed(0)
    decoder = make_decoder(({}, {"plan": NodeSpec("plan", 3, ageless=False)}), max_queries)
    plan = make_tokens(-2, 1, 6, 3)
    plan.values.requires_grad_()
    decoded = decoder({}, {"plan": plan}, EDGES)
    assert decoded.shape == (2, HORIZON, 8)
    block = -(-HORIZON // max_queries)
    for step in range(HORIZON):
        (gradient,) = torch.autograd.grad(
            decoded[:, step].pow(3).sum(), plan.values, retain_graph=True
        )
        first = step // block * block
        own = torch.zeros(6, dtype=torch.bool)
        own[2 + first : 2 + min(first + block, HORIZON)] = True
        assert gradient[:, own].abs().sum(dim=-1).all()
        assert not gradient[:, ~own].any()


def test_the_last_of_several_steps_may_lie_beyond_the_horizon() -> None:
    torch.manual_seed(0)
    decoder = HorizonDecoder(5, 8, {}, {}, num_heads=2, dropout=0.0, time_unit=1.0, max_queries=3)
    assert decoder.block == 2
    edges = torch.tensor([[0.0, 1, 3, 6, 10, 15]])
    assert decoder({}, {}, edges).shape == (1, 5, 8)
    assert decoder._middles(edges).tolist() == [[1.5, 6.5, 12.5]]


@pytest.mark.parametrize("max_queries", [4, 2])
def test_unobserved_tokens_have_no_influence(max_queries: int) -> None:
    torch.manual_seed(0)
    specs = (
        {"past": NodeSpec("load", 6, ageless=False)},
        {"plan": NodeSpec("plan", 3, ageless=False)},
    )
    decoder = make_decoder(specs, max_queries)
    past, plan = make_tokens(-5, 1, 5, 6), make_tokens(-2, 1, 6, 3)
    for tokens in (past, plan):
        tokens.grid.observed[:, 3] = False
        tokens.values.requires_grad_()
    decoder({"past": past}, {"plan": plan}, EDGES).pow(3).sum().backward()
    for tokens in (past, plan):
        assert tokens.values.grad is not None
        assert not tokens.values.grad[:, 3].any()
    assert past.values.grad is not None
    assert past.values.grad[:, 2].any()
