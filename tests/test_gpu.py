"""The same on a GPU, where there is one."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmts.checkpoint import build_model, load_checkpoint
from mmts.config import ExperimentConfig, load_config
from mmts.data.batch import Batch
from mmts.data.dataset import load_dataset
from mmts.experiment import resume, train
from mmts.forecasting import Forecaster
from mmts.interactions.kinds import list_kinds
from mmts.training.loader import Rounds, ShuffledBatches
from mmts.training.module import ForecastingModule
from mmts.training.optimisation import Optimisation
from mmts.training.recording import NUM_BEFORE, CudaGraph, RecordedSteps
from tests.factories import ENCODERS, make_frames, with_edges, with_encoder

pytestmark = [
    pytest.mark.gpu,
    # PyTorch warns that it may overlook some.
    pytest.mark.filterwarnings("ignore:Synchronization debug mode"),
]

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
@pytest.mark.parametrize("is_recorded", [False, True])
def test_no_step_of_a_round_waits_for_the_gpu(
    world: Path, precision: str, is_recorded: bool
) -> None:
    config = load_config(world, ["training.batch_size=16"])
    dataset = load_dataset(config.data)
    model = build_model(config, dataset.schema, dataset.scaling).to(CUDA).train()
    module = ForecastingModule(model, config.training, config.seed, num_steps=100).to(CUDA)
    module.optimisation = Optimisation(model, config.training, num_steps=100)
    module.steps = module.optimisation
    if is_recorded:
        module.steps = RecordedSteps(module.optimisation, CudaGraph)
    batches = ShuffledBatches(dataset.windows("train").to(CUDA), 16, seed=1, epoch=0)
    rounds = iter(Rounds(batches, steps_per_round=5))
    is_half = precision == "bf16-mixed"
    # As Lightning does it.
    with torch.autocast("cuda", torch.bfloat16, enabled=is_half, cache_enabled=False):
        # The first steps choose kernels and allocate, and one is recorded.
        module.training_step(next(rounds), 0)
        torch.cuda.set_sync_debug_mode("error")
        try:
            module.training_step(next(rounds), 1)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert module.num_steps == 10
    assert module.train_sum.is_cuda
    assert module.train_sum.isfinite()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_recorded_step_is_the_step_that_it_was_recorded_from(
    world: Path, tmp_path: Path, precision: str
) -> None:
    overrides = ["accelerator=gpu", f"precision={precision}", "batch_size=16", "max_epochs=2"]
    weights = []
    for is_recorded in ("false", "true"):
        own = [f"training.{one}" for one in (*overrides, f"cuda_graph={is_recorded}")]
        result = train(load_config(world, own), tmp_path / is_recorded)
        weights.append(load_checkpoint(result.folder / "last.mmts")[1].state_dict())
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder["kind"])
def test_each_kind_of_encoder_can_be_recorded(encoder: dict[str, Any], world: Path) -> None:
    compare_ways(load_config(world, with_encoder(encoder)))


@pytest.mark.parametrize("kind", list_kinds())
def test_each_kind_of_interaction_can_be_recorded(kind: str, world: Path) -> None:
    compare_ways(load_config(world, with_edges(kind)))


def compare_ways(config: ExperimentConfig) -> None:
    """Hold that steps which are played back have the losses of steps that are gone through."""
    dataset = load_dataset(config.data)
    batches = ShuffledBatches(dataset.windows("train").to(CUDA), 16, seed=1, epoch=0)
    found = []
    for is_recorded in (False, True):
        model = build_model(config, dataset.schema, dataset.scaling).to(CUDA).train()
        steps: Optimisation | RecordedSteps = Optimisation(model, config.training, num_steps=100)
        if is_recorded:
            steps = RecordedSteps(steps, CudaGraph)
        losses = []
        for step, batch in enumerate(batches):
            torch.manual_seed(step)
            losses.append(steps.take(batch, step)[0])
        found.append(torch.stack(losses))
    assert len(found[0]) > NUM_BEFORE + 2
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


def test_a_recorded_training_that_was_stopped_goes_on_where_it_was(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(world, ["training.accelerator=gpu", "training.batch_size=16"])
    whole = train(config, tmp_path / "whole")
    take, taken = RecordedSteps.take, []

    def press_once(steps: RecordedSteps, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        taken.append(step)
        if len(taken) == 8:
            signal.raise_signal(signal.SIGINT)
        return take(steps, batch, step)

    monkeypatch.setattr(RecordedSteps, "take", press_once)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "stopped")
    result = resume(tmp_path / "stopped")
    assert taken == list(range(len(taken)))
    first, second = (load_checkpoint(run.folder / "last.mmts")[1] for run in (whole, result))
    for name, weight in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], weight, rtol=1e-3, atol=1e-4)


def test_too_little_memory_is_told_with_what_to_change(world: Path, tmp_path: Path) -> None:
    # In a process of its own, which holds no memory from before.
    code = (
        "import sys, torch\n"
        "from mmts.config import load_config\n"
        "from mmts.experiment import train\n"
        "total = torch.cuda.get_device_properties('cuda').total_memory\n"
        "torch.cuda.set_per_process_memory_fraction((16 << 20) / total)\n"
        "train(load_config(sys.argv[1], ['training.accelerator=gpu']), sys.argv[2])\n"
    )
    command = [sys.executable, "-c", code, str(world), str(tmp_path / "run")]
    outcome = subprocess.run(command, capture_output=True, text=True)
    assert outcome.returncode == 1
    assert "TrainingError: the device is out of memory" in outcome.stderr
    assert "Lower training.batch_size" in outcome.stderr


def test_a_step_that_looks_at_a_value_cannot_be_recorded() -> None:
    # In a process of its own: this one's generator would wait for a recording that has failed.
    code = (
        "import torch\n"
        "from mmts.training.recording import CudaGraph\n"
        "values = torch.ones(3, device='cuda')\n"
        "CudaGraph(lambda: (values * float(values.sum()), values))\n"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert outcome.returncode == 1
    assert "Set training.cuda_graph: false" in outcome.stderr
