"""What a source usually holds is no news."""

from __future__ import annotations

import torch

from mmts.interactions.centring import Centring


def make_centring(*means: float) -> Centring:
    centring = Centring(len(means))
    centring.mean.copy_(torch.tensor(means))
    return centring


def test_a_constant_becomes_zero_while_training() -> None:
    centring, present = Centring(2), torch.ones(4, 3, dtype=torch.bool)
    values = torch.tensor([5.0, -1.0]).expand(4, 3, 2)
    first = centring(values, present)
    for _ in range(500):
        last = centring(values, present)
    assert first.abs().max() > 1
    assert last.abs().max() < 1e-3


def test_the_mean_stays_as_training_left_it() -> None:
    centring = make_centring(1.0).eval()
    values, present = torch.randn(4, 3, 1), torch.ones(4, 3, dtype=torch.bool)
    torch.testing.assert_close(centring(values, present), values - 1.0)
    assert centring.mean == 1.0


def test_what_is_absent_is_zero_and_does_not_count() -> None:
    present = torch.rand(4, 3) < 0.5
    values = torch.randn(4, 3, 2)
    garbage = torch.where(present[..., None], values, torch.inf)
    clean, dirty = make_centring(1.0, 2.0), make_centring(1.0, 2.0)
    assert torch.equal(clean(values, present), dirty(garbage, present))
    assert not clean(values, present)[~present].any()
    assert torch.equal(clean.mean.isfinite(), torch.ones(2, dtype=torch.bool))


def test_nothing_present_leaves_the_mean_alone() -> None:
    centring = make_centring(1.0, 2.0)
    centring(torch.randn(4, 3, 2), torch.zeros(4, 3, dtype=torch.bool))
    assert centring.mean.tolist() == [1.0, 2.0]


def test_the_mean_is_kept_in_single_precision() -> None:
    centring = make_centring(0.0)
    values = torch.full((64, 64, 1), 1.001, dtype=torch.bfloat16)
    for _ in range(300):
        assert centring(values, torch.ones(64, 64, dtype=torch.bool)).dtype == torch.bfloat16
    torch.testing.assert_close(centring.mean, values[0, 0].float(), atol=3e-3, rtol=0)
