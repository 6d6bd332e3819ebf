"""Alignment by availability, against a reference written as loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmts.interactions.alignment import Reach, align, visible_tokens
from mmts.tokens import TokenGrid, Tokens
from tests.interactions.reference import age_of, tokens_read


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


lags = st.sampled_from([None, 0.0, 5.0, 20.0])


@given(target=grids, source=grids, causal=st.booleans(), max_lag=lags)
@settings(deadline=None, max_examples=400)
def test_alignment_equals_the_reference(
    target: TokenGrid, source: TokenGrid, causal: bool, max_lag: float | None
) -> None:
    reach = Reach(causal, max_lag)
    values = torch.arange(1.0, source.end.shape[1] + 1)[None, :, None]
    aligned = align(target, Tokens(values, source), reach)
    for j in range(target.end.shape[1]):
        read = tokens_read(target, source, reach, 0, j)
        mean = sum(i + 1.0 for i in read) / max(1, len(read))
        assert float(aligned.values[0, j, 0]) == pytest.approx(mean)
        assert float(aligned.age[0, j]) == pytest.approx(
            age_of(target, source, read, 0, j), rel=1e-5
        )
        assert torch.nonzero(aligned.weights[0, j]).flatten().tolist() == read
        assert bool(aligned.present[0, j]) == bool(read)


@given(target=grids, source=grids)
@settings(deadline=None, max_examples=200)
def test_a_causal_token_sees_nothing_that_became_available_after_its_own_time(
    target: TokenGrid, source: TokenGrid
) -> None:
    values = torch.randn(1, source.end.shape[1], 1, requires_grad=True)
    aligned = align(target, Tokens(values, source), Reach())
    visible = visible_tokens(target, source, Reach())
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
    assert not visible_tokens(target, late, Reach()).any()
    assert not align(target, Tokens(torch.ones(1, 1, 1), late), Reach()).present.any()


def test_a_plan_counts_for_the_tokens_that_it_covers() -> None:
    quarters = make_grid(-2.0, 0.25, 8, 0.0, [True] * 12, known_ahead=False)
    hours = make_grid(-2.0, 1.0, 2, 0.0, [True] * 12, known_ahead=True)
    values = torch.tensor([[[1.0], [2.0]]])
    read = align(quarters, Tokens(values, hours), Reach()).values[0, :, 0]
    assert read.tolist() == [1.0] * 4 + [2.0] * 4


def test_an_event_that_is_published_at_once_counts_for_the_token_that_ends_with_it() -> None:
    hours = make_grid(-3.0, 1.0, 3, 0.0, [True] * 12, known_ahead=False)
    time = torch.tensor([[-2.0, -1.0]])
    event = TokenGrid(time, time, time, torch.tensor([[True, True]]))
    values = torch.tensor([[[1.0], [2.0]]])
    assert align(hours, Tokens(values, event), Reach()).values[0, :, 0].tolist() == [1.0, 2.0, 2.0]


def test_a_plan_that_begins_when_a_measurement_ends_is_read_without_it() -> None:
    hours = make_grid(-3.0, 1.0, 3, 0.0, [True] * 12, known_ahead=False)
    # Both count from two hours before the origin on; the measurement for the token that ends then.
    both = TokenGrid(
        start=torch.tensor([[-3.0, -2.0]]),
        end=torch.tensor([[-2.0, -1.0]]),
        available=torch.tensor([[-2.0, -9.0]]),
        observed=torch.tensor([[True, True]]),
    )
    values = torch.tensor([[[1.0], [2.0]]])
    read = align(hours, Tokens(values, both), Reach()).values[0, :, 0]
    # And an hour later nothing is new: what was there last is read, which is both.
    assert read.tolist() == [1.0, 2.0, 1.5]


def make_columns(length: int, last: float) -> TokenGrid:
    """Make tokens that all stand over the same span, as those of whole columns do."""
    end = torch.full((1, length), last)
    return TokenGrid(torch.full_like(end, -9.0), end, end, torch.ones_like(end, dtype=torch.bool))


@given(grid=grids, last=st.sampled_from([-4.0, 0.0]), causal=st.booleans())
@settings(deadline=None, max_examples=100)
def test_tokens_of_one_moment_read_the_same_and_are_read_together(
    grid: TokenGrid, last: float, causal: bool
) -> None:
    columns, reach = make_columns(3, last), Reach(causal)
    for target, source in ((columns, grid), (grid, columns)):
        values = torch.zeros(1, source.end.shape[1], 1)
        weights = align(target, Tokens(values, source), reach).weights
        for j in range(target.end.shape[1]):
            read = tokens_read(target, source, reach, 0, j)
            assert torch.nonzero(weights[0, j]).flatten().tolist() == read
        across = weights if target is columns else weights.transpose(1, 2)
        assert torch.equal(across, across[:, :1].expand_as(across))


def test_reports_of_one_moment_are_read_together_later_too() -> None:
    hours = make_grid(-3.0, 1.0, 3, 0.0, [True] * 12, known_ahead=False)
    time = torch.tensor([[-2.0, -2.0]])
    reports = TokenGrid(time, time, time, torch.tensor([[True, True]]))
    values = torch.tensor([[[1.0], [2.0]]])
    assert align(hours, Tokens(values, reports), Reach()).values[0, :, 0].tolist() == [1.5] * 3


def test_ages_stay_exact_under_bf16() -> None:
    target = make_grid(-1000.0, 1.0, 1000, 0.0, [True] * 1000, known_ahead=False)
    source = make_grid(-1000.0, 4.0, 250, 0.0, [True] * 250, known_ahead=False)
    values = Tokens(torch.randn(1, 250, 4), source)
    exact = align(target, values, Reach()).age
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(align(target, values, Reach()).age, exact)
