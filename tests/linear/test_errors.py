"""When errors count as less: by their sizes and by their squares."""

from __future__ import annotations

import pytest
import torch

from mmts.linear.errors import WindowErrors, summed_errors
from tests.linear.test_confidence import SPAN, at_hours

STEADY = torch.full((480,), 1.0, dtype=torch.float64)


def surely_less(errors: WindowErrors, simple: WindowErrors, is_robust: bool = True) -> bool:
    return errors.are_surely_less(simple, at_hours(480), SPAN, is_robust)


def daily(*values: float) -> torch.Tensor:
    """Return one value a day, over and over, for 480 hours."""
    return torch.tensor(values, dtype=torch.float64).repeat_interleave(24).repeat(20)[:480]


def test_what_gains_a_hair_in_size_and_loses_percents_in_squares_is_not_better() -> None:
    sizes, squares = torch.tensor([1.0, 1.0]), torch.tensor([2.0, 2.0])
    errors = WindowErrors(sizes, squares)
    hair = WindowErrors(0.998 * sizes, 1.02 * squares)
    assert hair.overall(is_robust=True) > errors.overall(is_robust=True)
    both = WindowErrors(0.998 * sizes, 1.002 * squares)
    assert both.overall(is_robust=True) < errors.overall(is_robust=True)
    # Where squares are what is asked for, sizes do not enter.
    assert hair.overall(is_robust=False) == pytest.approx(2.04)


@pytest.mark.parametrize("sure", [0, 1])
def test_one_measure_beyond_chance_is_enough_where_both_together_are_less(sure: int) -> None:
    simple = WindowErrors(STEADY, STEADY)
    by_chance = STEADY - daily(0.9, -0.8)
    pair = [by_chance, by_chance]
    assert not surely_less(WindowErrors(*pair), simple)
    pair[sure] = STEADY - 0.1
    assert surely_less(WindowErrors(*pair), simple)
    pair[1 - sure] = STEADY - daily(0.8, -0.9)
    assert surely_less(WindowErrors(*pair), simple)
    # More in the other than is gained in the one, be it by chance.
    pair[1 - sure] = STEADY - daily(0.8, -1.3)
    assert not surely_less(WindowErrors(*pair), simple)


def test_where_squares_are_asked_for_sizes_do_not_enter() -> None:
    simple = WindowErrors(STEADY, STEADY)
    assert surely_less(WindowErrors(STEADY + 1, STEADY - 0.1), simple, is_robust=False)
    assert not surely_less(WindowErrors(STEADY - 0.1, STEADY), simple, is_robust=False)


def test_what_is_not_observed_is_no_error() -> None:
    missed = torch.tensor([[[3.0], [torch.nan]], [[-1.0], [2.0]]])
    observed = torch.tensor([[[True], [False]], [[True], [True]]])
    errors = WindowErrors.of(missed)
    assert errors.sizes.tolist() == [3.0, 1.5]
    assert errors.squares.tolist() == [9.0, 2.5]
    pooled = summed_errors(missed.flatten(1), observed.flatten(1), is_robust=True)
    assert pooled == pytest.approx(6 * 14**0.5)
    assert summed_errors(missed.flatten(1), observed.flatten(1), is_robust=False) == 14.0
