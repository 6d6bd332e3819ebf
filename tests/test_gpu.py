"""The same on a GPU, where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmts.checkpoint import build_model
from mmts.config import load_config
from mmts.data.dataset import load_dataset
from mmts.experiment import train
from mmts.forecasting import Forecaster
from mmts.training.loader import Rounds, ShuffledBatches
from mmts.training.module import ForecastingModule
from mmts.training.optimisation import Optimisation
from tests.factories import make_frames

pytestmark = pytest.mark.gpu

CUDA = torch.device("cuda")


def test_batches_gathered_on_the_gpu_are_those_of_the_cpu(world: Path) -> None:
    windows = load_dataset(load_config(world).data).windows("train")
    chosen = torch.arange(0, len(windows), 7)
    here = windows.gather(chosen)
    there = windows.to(CUDA).gather(chosen.to(CUDA))
    for name, window in here.streams.items():
        for field in ("values", "observed", "start", "end", "available"):
            assert torch.equal(getattr(window, field), getattr(there.streams[name], field).cpu()), (
                f"{name}.{field}"
            )
    assert torch.equal(here.target, there.target.cpu())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_model_trained_on_the_gpu_forecasts_anywhere(
    world: Path, tmp_path: Path, precision: str
) -> None:
    overrides = ["training.accelerator=gpu", f"training.precision={precision}"]
    config = load_config(world, overrides)
    forecaster = Forecaster.from_checkpoint(train(config, tmp_path / "run").checkpoint)
    on_cpu = forecaster.predict(make_frames())
    forecaster.model.to(CUDA)
    on_gpu = forecaster.predict(make_frames())
    torch.testing.assert_close(
        torch.tensor(on_cpu["0.5"].to_numpy()),
        torch.tensor(on_gpu["0.5"].to_numpy()),
        rtol=1e-3,
        atol=1e-2,
    )


def test_training_on_the_gpu_twice_gives_the_same_loss(world: Path, tmp_path: Path) -> None:
    config = load_config(world, ["training.accelerator=gpu"])
    losses = [train(config, tmp_path / str(n)).best_loss for n in range(2)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_series_and_windows_stay_on_the_gpu(world: Path) -> None:
    windows = load_dataset(load_config(world).data).windows("train").to(CUDA)
    for stream in windows.streams.values():
        assert {stream.values.device.type, stream.observed.device.type} == {"cuda"}
    assert {windows.windows.items.device.type, windows.windows.origins.device.type} == {"cuda"}
    batch = next(iter(ShuffledBatches(windows, 32, seed=1, epoch=0)))
    assert batch.target.is_cuda
    assert all(window.values.is_cuda for window in batch.streams.values())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_no_step_of_a_round_waits_for_the_gpu(world: Path, precision: str) -> None:
    config = load_config(world, ["training.batch_size=16"])
    dataset = load_dataset(config.data)
    model = build_model(config, dataset.schema, dataset.scaling).to(CUDA).train()
    module = ForecastingModule(model, config.training, config.seed, num_steps=100).to(CUDA)
    module.optimisation = Optimisation(model, config.training, num_steps=100)
    # As Lightning does it, but for Lightning, which is given no step to look into.
    module.manual_backward = lambda loss: loss.backward()
    batches = ShuffledBatches(dataset.windows("train").to(CUDA), 16, seed=1, epoch=0)
    rounds = iter(Rounds(batches, steps_per_round=4))
    with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16-mixed"):
        # The first steps choose kernels and allocate.
        module.training_step(next(rounds), 0)
        torch.cuda.set_sync_debug_mode("error")
        try:
            module.training_step(next(rounds), 1)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert module.num_steps == 8
    assert module.train_sum.is_cuda
    assert module.train_sum.isfinite()
