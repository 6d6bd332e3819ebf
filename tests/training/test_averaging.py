"""The mean of the weights, and what counts in it."""

from __future__ import annotations

import pytest
import torch

from mmts.training.averaging import WeightAverage


@pytest.mark.parametrize("order", [0, 3])
def test_the_mean_counts_each_step_as_its_source_says(order: int) -> None:
    torch.manual_seed(0)
    weight = torch.zeros(5, requires_grad=True)
    average = WeightAverage([weight], order)
    expected, steps = torch.full((5,), 7.0), torch.randn(20, 5)
    for step, value in enumerate(steps):
        with torch.no_grad():
            weight.copy_(value)
        average.prepare(step)
        average.update()
        share = (order + 1) / (step + 1 + order)
        expected = (1 - share) * expected + share * value
    assert torch.allclose(average.mean[0], expected, atol=1e-6)
    if order == 0:
        assert torch.allclose(average.mean[0], steps.mean(dim=0), atol=1e-6)


def test_weights_and_mean_change_places_and_back() -> None:
    weight = torch.ones(3, requires_grad=True)
    average = WeightAverage([weight], order=1)
    with torch.no_grad():
        weight.fill_(2.0)
    average.swap()
    assert weight.tolist() == [1.0] * 3
    average.swap()
    assert weight.tolist() == [2.0] * 3
