"""The decoder: what each forecast step reads."""

from __future__ import annotations

import torch

from mmts.heads.decoder import HorizonDecoder, cover_steps
from mmts.interactions.base import NodeSpec
from mmts.tokens import TokenGrid, Tokens

HORIZON = 4


def make_tokens(start: float, step: float, length: int, dim: int) -> Tokens:
    begin = (start + step * torch.arange(length, dtype=torch.float32)).expand(2, -1)
    observed = torch.ones(2, length, dtype=torch.bool)
    grid = TokenGrid(begin, begin + step, torch.full_like(begin, -torch.inf), observed)
    return Tokens(torch.randn(2, length, dim), grid)


def weights(future: Tokens) -> torch.Tensor:
    start = torch.arange(HORIZON, dtype=torch.float32).expand(2, -1)
    return cover_steps(start, start + 1, future.grid)[0]


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


def test_unobserved_tokens_have_no_influence() -> None:
    torch.manual_seed(0)
    specs = (
        {"past": NodeSpec("load", 6, ageless=False)},
        {"plan": NodeSpec("plan", 3, ageless=False)},
    )
    decoder = HorizonDecoder(HORIZON, 8, *specs, num_heads=2, dropout=0.0, time_unit=1.0)
    past, plan = make_tokens(-5, 1, 5, 6), make_tokens(-2, 1, 6, 3)
    for tokens in (past, plan):
        tokens.grid.observed[:, 3] = False
        tokens.values.requires_grad_()
    edges = torch.arange(HORIZON + 1, dtype=torch.float32).expand(2, -1)
    decoder({"past": past}, {"plan": plan}, edges).pow(3).sum().backward()
    for tokens in (past, plan):
        assert tokens.values.grad is not None
        assert not tokens.values.grad[:, 3].any()
    assert past.values.grad is not None
    assert past.values.grad[:, 2].any()
