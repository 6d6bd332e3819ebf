"""When a gain on validation counts."""

from __future__ import annotations

import torch

from mmts.linear.confidence import is_better

HOUR = 3_600_000_000
SPAN = 24 * HOUR


def at_hours(count: int) -> torch.Tensor:
    return torch.arange(count) * HOUR


def test_a_steady_gain_is_one() -> None:
    simple = torch.rand(2400, generator=torch.manual_seed(0))
    assert is_better(simple, simple - 0.1, at_hours(2400), SPAN)
    assert not is_better(simple, simple + 0.1, at_hours(2400), SPAN)
    assert not is_better(simple, simple, at_hours(2400), SPAN)


def test_within_one_horizon_a_gain_has_to_be_large() -> None:
    simple = 1 + torch.rand(24, generator=torch.manual_seed(0))
    assert not is_better(simple, simple * 0.92, at_hours(24), SPAN)
    assert is_better(simple, simple * 0.88, at_hours(24), SPAN)


def test_windows_that_overlap_and_items_count_once() -> None:
    # A gain that comes and goes by the day: sure if hours were independent, unsure by days.
    daily = torch.tensor([1.0, -0.8, 1.0, -0.8, 1.0, -0.8]).repeat_interleave(24)
    simple = torch.zeros(144)
    assert not is_better(simple, simple - daily, at_hours(144), SPAN)
    many = daily.repeat(50)
    assert not is_better(torch.zeros(len(many)), -many, at_hours(144).repeat(50), SPAN)
    longer = daily.repeat(50)
    assert is_better(torch.zeros(len(longer)), -longer, at_hours(len(longer)), SPAN)


def test_chance_alone_is_rarely_taken_for_a_gain() -> None:
    random = torch.manual_seed(0)
    taken = 0
    for _ in range(400):
        daily = torch.randn(8, generator=random).repeat_interleave(24)
        taken += is_better(torch.zeros(192), daily, at_hours(192), SPAN)
    assert 0.02 < taken / 400 < 0.08
