"""The whole model: what interactions may and may not change."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from mmts.checkpoint import build_model
from mmts.config import ExperimentConfig, load_config
from mmts.data.batch import Batch, without_stream
from mmts.data.dataset import Dataset, load_dataset
from mmts.losses import masked_mean
from mmts.model import MultimodalForecaster
from tests.factories import make_settings, write_config, write_world

EVERY_EDGE = [
    *make_settings()["model"]["interactions"],
    {"kind": "film", "from": "weather.1", "to": "load.1"},
    {"kind": "weighted", "weights": "token", "from": ["weather.0", "plan.1"], "to": "load.2"},
    {"kind": "joint", "from": ["news.1", "weather.out"], "to": "load.3"},
    {"kind": "bottleneck", "from": ["weather.2", "news.0", "site.1"], "to": "load.out"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return load_dataset(load_config(write_config(folder, make_settings())).data)


@pytest.fixture(scope="module")
def batch(dataset: Dataset) -> Batch:
    return dataset.windows("train").gather(torch.arange(0, 200, 13))


def configure(folder: Path, **model: Any) -> ExperimentConfig:
    settings = make_settings()
    # Edges are seen at once where the head does not begin at zero.
    settings["model"] |= {"linear": None, **model}
    return load_config(write_config(folder, settings))


def build(folder: Path, dataset: Dataset, **model: Any) -> MultimodalForecaster:
    return build_model(configure(folder, **model), dataset.schema, dataset.scaling)


def step(model: MultimodalForecaster, batch: Batch, rate: float = 0.05) -> Tensor:
    """Take one plain optimiser step; returns the loss before it."""
    loss = masked_mean(model.head.loss(model(batch), batch.target), batch.target_observed)
    model.zero_grad()
    loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= rate * parameter.grad
    return loss.detach()


def wake(model: MultimodalForecaster) -> MultimodalForecaster:
    """Give every zero-started projection some weights."""
    torch.manual_seed(5)
    for parameter in model.interactions.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
def test_with_interactions_equals_without_at_step_0_to_the_bit(
    folder: Path, dataset: Dataset, batch: Batch, mode: bool
) -> None:
    forecasts = []
    # Without dropout: a stream that is not built draws no numbers, and moves those of others.
    encoders = {
        name: {**encoder, "dropout": 0.0}
        for name, encoder in make_settings()["model"]["encoders"].items()
    }
    head = {"kind": "quantile", "dim": 16, "dropout": 0.0}
    for interactions in ([], EVERY_EDGE):
        model = build(folder, dataset, interactions=interactions, encoders=encoders, head=head)
        model.train(mode)
        torch.manual_seed(0)
        forecasts.append(model(batch))
    assert torch.equal(*forecasts)


@pytest.mark.parametrize("head", ["quantile", "point"])
def test_after_two_steps_every_executed_weight_has_a_gradient(
    folder: Path, dataset: Dataset, batch: Batch, head: str
) -> None:
    settings = {"head": {"kind": head, "dim": 16}, "interactions": EVERY_EDGE}
    model = build(folder, dataset, **settings, stream_dropout=0.0)
    for _ in range(2):
        step(model, batch)
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


def test_an_edge_more_leaves_all_other_weights_as_they_were(folder: Path, dataset: Dataset) -> None:
    without = build(folder, dataset, interactions=EVERY_EDGE[1:]).state_dict()
    everything = build(folder, dataset, interactions=EVERY_EDGE).state_dict()
    assert set(without) < set(everything)
    assert all(torch.equal(weight, everything[name]) for name, weight in without.items())


def test_the_order_of_edges_changes_nothing(folder: Path, dataset: Dataset, batch: Batch) -> None:
    one = wake(build(folder, dataset, interactions=EVERY_EDGE))
    other = build(folder, dataset, interactions=EVERY_EDGE[::-1]).eval()
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(batch), other(batch))


def test_edges_switched_off_equal_edges_never_there(
    folder: Path, dataset: Dataset, batch: Batch
) -> None:
    model = wake(build(folder, dataset, interactions=EVERY_EDGE))
    without = build(folder, dataset, interactions=[]).eval()
    assert not torch.equal(model(batch), without(batch))
    for name in model.sources:
        model.switch_edge(name, 0.0)
    assert torch.equal(model(batch), without(batch))
    for name in model.sources:
        model.switch_edge(name, 1.0)
    assert not torch.equal(model(batch), without(batch))


def test_a_missing_stream_equals_its_edges_switched_off(
    folder: Path, dataset: Dataset, batch: Batch
) -> None:
    edges = [
        {"kind": "attention", "from": "weather.1", "to": "load.2", "name": "a"},
        {"kind": "residual", "from": "weather.2", "to": "load.2", "name": "b"},
        {"kind": "weighted", "from": ["weather.0", "weather.1"], "to": "load.3", "name": "c"},
        {"kind": "film", "from": "weather.2", "to": "load.1", "name": "d"},
        {"kind": "joint", "from": "weather.1", "to": "load.2", "name": "e"},
        {"kind": "bottleneck", "from": ["weather.0", "weather.2"], "to": "load.3", "name": "f"},
    ]
    model = wake(build(folder, dataset, interactions=edges))
    missing = model(without_stream(batch, "weather"))
    assert not torch.equal(missing, model(batch))
    for name in "abcdef":
        model.switch_edge(name, 0.0)
    assert torch.equal(missing, model(batch))


def test_masked_values_are_zero_in_a_batch(batch: Batch) -> None:
    for window in batch.streams.values():
        assert not window.values[~window.observed].any()
    assert not batch.target[~batch.target_observed].any()


def test_strengths_are_zero_at_first_and_show_every_edge(
    folder: Path, dataset: Dataset, batch: Batch
) -> None:
    model = build(folder, dataset, interactions=EVERY_EDGE).eval()
    assert set(model.edge_strengths(batch).values()) == {0.0}
    strengths = wake(model).edge_strengths(batch)
    assert set(strengths) == set(model.sources)
    assert all(strength > 0 for strength in strengths.values())


def test_streams_without_a_path_to_the_head_are_not_built(folder: Path, dataset: Dataset) -> None:
    model = build(folder, dataset, interactions=[EVERY_EDGE[3]])
    assert set(model.encoders) == {"[load]", "[weather]", "[plan]"}
    assert model.schedule.idle_streams() == ["news", "site"]
    assert len(model.encoders["[weather]"].layers) == 1


def test_the_head_may_read_any_node(folder: Path, dataset: Dataset, batch: Batch) -> None:
    head = {"kind": "point", "dim": 16, "reads": ["weather.1", "site.out"]}
    model = build(folder, dataset, interactions=[], head=head)
    assert model(batch).shape == (len(batch), 6, 1, 1)
    assert set(model.encoders) == {"[load]", "[plan]", "[weather]", "[site]"}


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    folder: Path, dataset: Dataset
) -> None:
    torch.manual_seed(123)
    one = build(folder, dataset).state_dict()
    torch.manual_seed(321)
    same = build(folder, dataset).state_dict()
    assert all(torch.equal(weight, same[name]) for name, weight in one.items())
    settings = make_settings() | {"seed": 2}
    config = load_config(write_config(folder, settings))
    other = build_model(config, dataset.schema, dataset.scaling).state_dict()
    assert any(not torch.equal(weight, other[name]) for name, weight in one.items())


def test_building_a_model_leaves_the_global_generator_alone(folder: Path, dataset: Dataset) -> None:
    torch.manual_seed(9)
    before = torch.get_rng_state()
    build(folder, dataset)
    assert torch.equal(before, torch.get_rng_state())


def test_stream_dropout_never_takes_the_target_stream(
    folder: Path, dataset: Dataset, batch: Batch
) -> None:
    model = build(folder, dataset, stream_dropout=0.9).train()
    torch.manual_seed(0)
    dropped = model._drop_streams(batch.streams)
    assert torch.equal(dropped["load"].observed, batch.streams["load"].observed)
    for name in ("weather", "plan", "news", "site"):
        gone = ~dropped[name].observed.flatten(1).any(1)
        assert gone.any()
        assert not dropped[name].values[gone].any()


def test_window_normalisation_makes_forecasts_follow_the_level(
    folder: Path, dataset: Dataset, batch: Batch
) -> None:
    model = build(folder, dataset, window_normalization=True).eval()
    load = batch.streams["load"]
    values = load.values.clone()
    values[..., 0] = torch.where(load.observed[..., 0], values[..., 0] * 2 + 10, 0.0)
    shifted = replace(batch, streams={**batch.streams, "load": replace(load, values=values)})
    torch.testing.assert_close(model(shifted), model(batch) * 2 + 10, rtol=1e-4, atol=1e-4)


def test_gradients_stay_finite_in_bf16_and_with_everything_absent(
    folder: Path, dataset: Dataset, batch: Batch
) -> None:
    model = wake(build(folder, dataset, interactions=EVERY_EDGE)).train()
    absent = batch
    for name in batch.streams:
        absent = without_stream(absent, name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for given in (batch, absent):
            model.zero_grad()
            masked_mean(
                model.head.loss(model(given).float(), given.target), given.target_observed
            ).backward()
            grads = [p.grad for p in model.parameters() if p.grad is not None]
            assert all(torch.isfinite(grad).all() for grad in grads)


def test_a_stream_that_is_absent_in_some_windows_leaves_the_others_as_they_were(
    folder: Path, dataset: Dataset, batch: Batch
) -> None:
    model = wake(build(folder, dataset, interactions=EVERY_EDGE))
    present, absent = model(batch), model(without_stream(batch, "weather"))
    weather, gone = batch.streams["weather"], without_stream(batch, "weather").streams["weather"]
    chosen = torch.arange(len(batch)) % 2 == 0
    mixed = {
        part.name: torch.where(
            chosen.view(-1, *[1] * (getattr(weather, part.name).ndim - 1)),
            getattr(gone, part.name),
            getattr(weather, part.name),
        )
        for part in fields(weather)
    }
    streams = {**batch.streams, "weather": replace(weather, **mixed)}
    forecast = model(replace(batch, streams=streams))
    assert torch.equal(forecast[chosen], absent[chosen])
    assert torch.equal(forecast[~chosen], present[~chosen])
    assert not torch.equal(present[chosen], absent[chosen])


@pytest.mark.slow
def test_the_compiled_model_equals_eager_and_a_switched_edge_compiles_nothing_anew(
    folder: Path, dataset: Dataset, batch: Batch
) -> None:
    model = wake(build(folder, dataset, interactions=EVERY_EDGE))
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=False)
    with torch.no_grad():
        torch.testing.assert_close(compiled(batch), model(batch))
        with torch.compiler.set_stance("fail_on_recompile"):
            for name in model.sources:
                model.switch_edge(name, 0.0)
            torch.testing.assert_close(compiled(batch), model(batch))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
def test_attention_never_falls_back_to_the_slow_kernel(
    folder: Path, dataset: Dataset, batch: Batch, precision: torch.dtype
) -> None:
    model = wake(build(folder, dataset, interactions=EVERY_EDGE)).train()
    half = torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16)
    # Any other than the fused kernel raises here.
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), half:
        model(batch).float().square().sum().backward()
    mask = torch.zeros(1, 1, 4, 4, requires_grad=True)
    one = torch.zeros(1, 1, 4, 8)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), pytest.raises(RuntimeError, match="kernel"):
        torch.nn.functional.scaled_dot_product_attention(one, one, one, attn_mask=mask)


@pytest.mark.parametrize("name", ["values", "items", "type", "train", "forward"])
def test_streams_and_edges_may_have_any_name(tmp_path: Path, name: str) -> None:
    settings = make_settings()
    for part in (settings["data"]["streams"], settings["model"]["encoders"]):
        part[name] = part.pop("weather")
    settings["model"]["interactions"] = [
        {"kind": "attention", "from": f"{name}.1", "to": "load.2", "name": name}
    ]
    settings["model"]["head"]["reads"] = [f"{name}.out"]
    write_world(tmp_path)
    config = load_config(write_config(tmp_path, settings))
    dataset = load_dataset(config.data)
    model = build_model(config, dataset.schema, dataset.scaling)
    assert torch.isfinite(model(dataset.windows("train").gather(torch.arange(3)))).all()
