"""The same on a GPU, where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmts.config import load_config
from mmts.data.dataset import load_dataset
from mmts.experiment import train
from mmts.forecasting import Forecaster
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
