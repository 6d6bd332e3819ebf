"""Alignment by availability, against a reference written as loops."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmts.interactions.alignment import align, visible_tokens
from mmts.tokens import TokenGrid, Tokens


def make_grid(
    first: float, step: float, length: int, delay: float, observed: list[bool], known_ahead: bool
) -> TokenGrid:
    start = first + step * torch.arange(length, dtype=torch.float32)[None]
    end = start + step
    available = torch.full_like(end, -torch.inf) if known_ahead else end + delay
    mask = torch.tensor([observed[:length]])
    # A window holds nothing published after its origin.
    return TokenGrid(start, end, available, mask & (available <= 0))


grids = st.builds(
    make_grid,
    first=st.integers(-60, 0).map(float),
    step=st.integers(1, 9).map(float),
    length=st.integers(1, 12),
    delay=st.integers(0, 9).map(float),
    observed=st.lists(st.booleans(), min_size=12, max_size=12),
    known_ahead=st.booleans(),
)


def reference(target: TokenGrid, source: Tokens, causal: bool) -> tuple[list[float], list[float]]:
    """Return value and age at every target token, token by token."""
    grid = source.grid
    values, ages = [], []
    before = -math.inf
    for j in range(target.end.shape[1]):
        now = float(target.end[0, j])
        seen = []
        for i in range(grid.end.shape[1]):
            end, available = float(grid.end[0, i]), float(grid.available[0, i])
            since = max(end, available) if causal else end
            may = bool(grid.observed[0, i]) and since <= now
            if causal:
                may = may and available <= min(now, 0.0)
            if may:
                middle = (float(grid.start[0, i]) + end) / 2
                seen.append((since, float(source.values[0, i, 0]), middle))
        recent = [entry for entry in seen if entry[0] > before] or seen[-1:]
        values.append(sum(v for _, v, _ in recent) / len(recent) if recent else 0.0)
        ages.append(now - sum(m for *_, m in recent) / len(recent) if recent else 0.0)
        before = now
    return values, ages


@given(target=grids, source=grids, causal=st.booleans())
@settings(deadline=None, max_examples=300)
def test_alignment_equals_the_reference(target: TokenGrid, source: TokenGrid, causal: bool) -> None:
    values = torch.arange(1.0, source.end.shape[1] + 1)[None, :, None]
    aligned = align(target, Tokens(values, source), causal)
    expected, ages = reference(target, Tokens(values, source), causal)
    torch.testing.assert_close(aligned.values[0, :, 0], torch.tensor(expected))
    torch.testing.assert_close(aligned.age[0], torch.tensor(ages))
    assert aligned.present[0].tolist() == [value != 0 for value in expected]


@given(target=grids, source=grids)
@settings(deadline=None, max_examples=200)
def test_a_causal_token_sees_nothing_that_became_available_after_its_own_time(
    target: TokenGrid, source: TokenGrid
) -> None:
    values = torch.randn(1, source.end.shape[1], 1, requires_grad=True)
    aligned = align(target, Tokens(values, source), causal=True)
    visible = visible_tokens(target, source, causal=True)
    for j in range(target.end.shape[1]):
        (gradient,) = torch.autograd.grad(
            aligned.values[0, j, 0], values, retain_graph=True, allow_unused=True
        )
        own = min(float(target.end[0, j]), 0.0)
        late = source.available[0] > own
        assert gradient is None or not gradient[0, late].any()
        assert not visible[0, j, late].any()


def test_tokens_over_the_horizon_are_as_if_at_the_origin() -> None:
    target = make_grid(-2.0, 1.0, 6, 0.0, [True] * 12, known_ahead=True)
    late = TokenGrid(
        start=torch.tensor([[-2.0]]),
        end=torch.tensor([[-1.0]]),
        available=torch.tensor([[2.0]]),
        observed=torch.tensor([[True]]),
    )
    assert not visible_tokens(target, late, causal=True).any()
    assert not align(target, Tokens(torch.ones(1, 1, 1), late), causal=True).present.any()
