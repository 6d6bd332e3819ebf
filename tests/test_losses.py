"""Losses against scikit-learn."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.metrics import mean_pinball_loss

from mmts.losses import masked_mean, pinball_loss


def test_pinball_loss_equals_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    target, forecast = random.normal(size=50), random.normal(size=(50, 3))
    levels = [0.1, 0.5, 0.9]
    ours = pinball_loss(torch.tensor(forecast), torch.tensor(target), torch.tensor(levels)).mean(0)
    theirs = [mean_pinball_loss(target, forecast[:, i], alpha=q) for i, q in enumerate(levels)]
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_masked_mean_ignores_what_is_not_observed_even_nan() -> None:
    losses = torch.tensor([1.0, torch.nan, 3.0])
    assert float(masked_mean(losses, torch.tensor([True, False, True]))) == 2.0
    assert float(masked_mean(losses, torch.tensor([False, False, False]))) == 0.0
