"""The linear path inside a training."""

from __future__ import annotations

import copy

import pytest
import torch

from mmts.checkpoint import build_model
from mmts.config import load_config
from mmts.data.batch import Batch
from mmts.data.dataset import load_dataset
from mmts.layers.window_norm import WindowScale
from mmts.linear.share import LinearShare, NetworkShare, go_part_of_the_way
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


@pytest.mark.parametrize("share", NetworkShare.OFFERED)
def test_a_forecast_goes_the_chosen_share_of_the_way(world: World, share: float) -> None:
    model, batch = copy.deepcopy(world[0]), world[1]
    torch.nn.init.normal_(model.head.project.weight, generator=torch.Generator().manual_seed(1))
    model.network_share.chosen.fill_(share)
    with torch.no_grad():
        linear, whole = model.forecast_in_parts(batch)
        forecast = model(batch)
    assert linear is not None
    assert not torch.equal(linear, whole)
    torch.testing.assert_close(forecast, linear + share * (whole - linear))


def test_a_training_step_goes_the_whole_way(world: World) -> None:
    model, batch = copy.deepcopy(world[0]), world[1]
    torch.nn.init.normal_(model.head.project.weight, generator=torch.Generator().manual_seed(1))
    model.train()
    said = []
    for share in (1.0, 0.25):
        model.network_share.chosen.fill_(share)
        torch.manual_seed(1)
        said.append(model(batch))
    assert torch.equal(*said)


def test_a_share_of_the_way_keeps_quantiles_in_order_to_the_last_bit() -> None:
    generator = torch.Generator().manual_seed(1)
    low = torch.randn(2, 500_000, generator=generator)
    # Next to each other, where rounding would turn them round.
    high = torch.nextafter(low, torch.full_like(low, torch.inf))
    for share in NetworkShare.OFFERED:
        lower, upper = go_part_of_the_way(*low, share), go_part_of_the_way(*high, share)
        assert (lower <= upper).all()
    assert torch.equal(go_part_of_the_way(*low, 1.0), low[1])
