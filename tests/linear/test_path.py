"""The linear path inside a training."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from mmts.checkpoint import build_model
from mmts.config import load_config
from mmts.data.batch import Batch
from mmts.data.dataset import load_dataset
from mmts.layers.window_norm import WindowScale
from mmts.linear.share import LinearShare, NetworkShare, Shares
from mmts.model import MultimodalForecaster
from tests.factories import write_world

World = tuple[MultimodalForecaster, Batch]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return a model whose linear path reads everything by numbers of its own, and a batch."""
    overrides = ["model.linear={reads: all, units: both}"]
    config = load_config(write_world(tmp_path_factory.mktemp("world")), overrides)
    dataset = load_dataset(config.data)
    model = build_model(config, dataset.schema, dataset.scaling).eval()
    assert model.linear is not None
    generator = torch.Generator().manual_seed(1)
    for numbers in model.linear.buffers():
        numbers.normal_(generator=generator)
    return model, dataset.windows("train").gather(torch.arange(40))


def test_mixed_precision_leaves_the_linear_path_as_it_was_fitted(world: World) -> None:
    model, batch = world
    assert model.linear is not None
    exact = model.linear(batch.streams)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model.linear(batch.streams)
    assert torch.equal(mixed, exact)


def test_a_mixed_training_begins_exactly_where_the_linear_path_stands(world: World) -> None:
    model, batch = world
    assert model.linear is not None
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        forecast = model(batch)
    torch.testing.assert_close(forecast, model.linear(batch.streams), rtol=1e-6, atol=1e-5)


def test_the_share_of_the_path_is_not_rounded_to_eight_bits() -> None:
    share = LinearShare(8, num_targets=1)
    generator = torch.Generator().manual_seed(1)
    torch.nn.init.normal_(share.weight, generator=generator)
    decoded = torch.randn(5, 3, 8, generator=generator).bfloat16()
    linear = torch.randn(5, 3, 1, 2, generator=generator)
    scale = WindowScale(torch.zeros(5, 1, 1), torch.ones(5, 1, 1))
    exact = share(decoded.float(), linear, scale)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = share(decoded, linear, scale)
    assert torch.equal(mixed, exact)


@pytest.mark.parametrize("shares", NetworkShare(("0.1", "0.5", "0.9")).offered)
def test_a_forecast_goes_the_chosen_shares_of_the_way(world: World, shares: Shares) -> None:
    model, batch = copy.deepcopy(world[0]), world[1]
    torch.nn.init.normal_(model.head.project.weight, generator=torch.Generator().manual_seed(1))
    model.network_share.chosen.copy_(torch.tensor(shares))
    with torch.no_grad():
        linear, whole = model.forecast_in_parts(batch)
        forecast = model(batch)
    assert linear is not None
    assert not torch.equal(linear, whole)
    medians = [said[..., 1:2] for said in (linear, whole, forecast)]
    torch.testing.assert_close(
        medians[2], (1 - shares.middle) * medians[0] + shares.middle * medians[1]
    )
    spreads = [said - median for said, median in zip((linear, whole), medians[:2], strict=True)]
    torch.testing.assert_close(
        forecast - medians[2], (1 - shares.spread) * spreads[0] + shares.spread * spreads[1]
    )


def test_a_forecast_of_the_mean_has_no_spread_to_choose() -> None:
    share = NetworkShare(("mean",))
    assert [shares.middle for shares in share.offered] == [1, 0.75, 0.5, 0.25]
    linear, whole = torch.zeros(4, 2, 1, 1), torch.ones(4, 2, 1, 1)
    for shares in share.offered:
        share.chosen.copy_(torch.tensor(shares))
        assert torch.equal(share(linear, whole), whole * shares.middle)


def losses_of_middles(gains: dict[float, float], scale: float = 1.0) -> Tensor:
    """Return the loss of each of the shares offered, the spread of the whole model being best."""
    offered = NetworkShare(("0.1", "0.5", "0.9")).offered
    return torch.tensor(
        [scale * (1 - gains[s.middle] + 0.1 * (1 - s.spread)) for s in offered], dtype=torch.float64
    )


@pytest.mark.parametrize(
    ("gains", "middle"),
    [
        # The whole way for what gains more than the caution beyond any part of it.
        ({0.0: 0.0, 0.25: 0.02, 0.5: 0.04, 0.75: 0.06, 1.0: 0.08}, 1.0),
        # Nearly as much is gained half of the way.
        ({0.0: 0.0, 0.25: 0.02, 0.5: 0.035, 0.75: 0.04, 1.0: 0.041}, 0.5),
        # Too little to leave what extrapolates.
        ({0.0: 0.0, 0.25: 0.001, 0.5: 0.002, 0.75: 0.0025, 1.0: 0.003}, 0.0),
        ({0.0: 0.0, 0.25: -0.1, 0.5: -0.2, 0.75: -0.3, 1.0: -0.4}, 0.0),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_a_small_gain_on_validation_is_not_worth_the_way(
    gains: dict[float, float], middle: float, scale: float
) -> None:
    share = NetworkShare(("0.1", "0.5", "0.9"))
    assert share.choose(losses_of_middles(gains, scale)) == (middle, 1.0)


def test_of_a_mean_the_least_share_is_taken_where_all_are_worse_and_losses_may_be_negative() -> (
    None
):
    share = NetworkShare(("mean",))
    for least, chosen in ((1.0, 0.25), (-1.0, 0.25)):
        losses = least + torch.tensor([0.3, 0.2, 0.1, 0.0], dtype=torch.float64)
        assert share.choose(losses).middle == chosen
    gains = torch.tensor([-0.5, -0.3, -0.2, -0.1], dtype=torch.float64)
    assert share.choose(-1 + gains).middle == share.choose(1 + gains).middle == 1


def test_losses_that_are_no_numbers_choose_nothing() -> None:
    share = NetworkShare(("0.1", "0.5", "0.9"))
    assert share.choose(torch.full((len(share.offered),), torch.nan)) == (1.0, 1.0)


def test_where_the_network_says_nothing_the_whole_way_is_chosen() -> None:
    share = NetworkShare(("0.1", "0.5", "0.9"))
    nothing = dict.fromkeys((0.0, 0.25, 0.5, 0.75, 1.0), 0.0)
    alike = torch.ones_like(losses_of_middles(nothing))
    assert share.choose(alike) == (1.0, 1.0)
    assert share.choose(alike * (1 + 1e-8 * torch.arange(len(alike)))) == (1.0, 1.0)


def test_a_training_step_goes_the_whole_way(world: World) -> None:
    model, batch = copy.deepcopy(world[0]), world[1]
    torch.nn.init.normal_(model.head.project.weight, generator=torch.Generator().manual_seed(1))
    model.train()
    said = []
    for share in (1.0, 0.25):
        model.network_share.chosen[0] = share
        torch.manual_seed(1)
        said.append(model(batch))
    assert torch.equal(*said)


def test_a_share_of_the_way_keeps_quantiles_in_order_to_the_last_bit() -> None:
    generator = torch.Generator().manual_seed(1)
    low = torch.randn(2, 200_000, generator=generator)
    # Next to each other, where rounding would turn them round.
    middle = torch.nextafter(low, torch.full_like(low, torch.inf))
    high = torch.nextafter(middle, torch.full_like(low, torch.inf))
    linear, whole = torch.stack([low, middle, high], dim=-1)
    share = NetworkShare(("0.1", "0.5", "0.9"))
    assert torch.equal(share(linear, whole), whole)
    for shares, forecast in zip(share.offered, share.each(linear, whole), strict=True):
        assert (forecast.diff(dim=-1) >= 0).all()
        # What validation looks at is what a forecast then is.
        share.chosen.copy_(torch.tensor(shares))
        assert torch.equal(share(linear, whole), forecast)
