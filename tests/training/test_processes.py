"""Several processes that train one model: what each reads, and that it goes as with one."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from torch import Tensor, distributed

from mmts.checkpoint import build_model, load_checkpoint
from mmts.config import ExperimentConfig, load_config
from mmts.data.batch import Batch, blank
from mmts.data.dataset import load_dataset
from mmts.errors import ConfigError, DataError, TrainingError
from mmts.experiment import resume, train
from mmts.interactions.centring import Centring
from mmts.training import team
from mmts.training.callbacks import EpochLog
from mmts.training.loader import OrderedBatches, ShuffledBatches
from mmts.training.module import seed_of_step
from mmts.training.optimisation import Optimisation
from mmts.training.processes import Processes, find_processes
from mmts.training.state import read_state
from tests.conftest import ROOT
from tests.factories import make_settings, write_config


@pytest.fixture
def still(world: Path) -> Path:
    """Return the config of a small world without dropout, which processes draw differently."""
    settings = make_settings()
    settings["model"]["stream_dropout"] = 0.0
    for part in (*settings["model"]["encoders"].values(), settings["model"]["head"]):
        part["dropout"] = 0.0
    settings["training"] |= {"accelerator": "cpu", "max_epochs": 2}
    settings["tracking"] = {"enabled": True}
    return write_config(world.parent, settings)


def ranks(count: int) -> list[Processes]:
    return [Processes(rank=rank, count=count) for rank in range(count)]


def runs_in(folder: Path) -> list[Any]:
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    return client.search_runs([e.experiment_id for e in client.search_experiments()])


@pytest.mark.parametrize(("count", "size", "last"), [(2, 48, 46), (3, 9, 1)])
@pytest.mark.parametrize("ordered", [False, True])
def test_processes_split_each_batch_between_them(
    world: Path, count: int, size: int, last: int, ordered: bool
) -> None:
    windows = load_dataset(load_config(world).data).windows("train")
    assert len(windows) % size == last

    def batches_of(processes: Processes) -> list[torch.Tensor]:
        if ordered:
            batches = iter(OrderedBatches(windows, size, processes))
        else:
            batches = iter(ShuffledBatches(windows, size, 1, 0, processes=processes))
        # Windows apart from each other: no two hold the same values.
        return [
            b.streams["load"].values[b.streams["load"].observed.any(dim=(1, 2))] for b in batches
        ]

    whole = batches_of(Processes())
    parts = [batches_of(processes) for processes in ranks(count)]
    assert {len(part) for part in parts} == {len(whole)}
    for batch, *split in zip(whole, *parts, strict=True):
        together = torch.cat(split)
        assert sorted(map(str, together.tolist())) == sorted(map(str, batch.tolist()))
        sizes = [len(part) for part in split]
        assert max(sizes) - min(sizes) <= 1


def test_a_blank_batch_moves_nothing(still: Path) -> None:
    config = load_config(still)
    dataset = load_dataset(config.data)
    model = build_model(config, dataset.schema, dataset.scaling).train()
    batch = next(dataset.windows("train").batches(2))
    optimisation = Optimisation(model, config.training, 10)
    for _ in range(3):
        # So that no gradient is zero because a weight is.
        optimisation.loss(batch).backward()
        optimisation.descend(0)
    means = [c.mean.clone() for c in model.modules() if isinstance(c, Centring)]
    assert len(means) > 3
    loss = optimisation.loss(blank(batch))
    loss.backward()
    assert float(loss.detach()) == 0.0
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert not weight.grad.any(), name
    found = [c for c in model.modules() if isinstance(c, Centring)]
    for mean, centring in zip(means, found, strict=True):
        assert float(centring.num_tokens) == 0
        assert torch.equal(centring.mean, mean)


def test_each_process_and_step_draws_dropout_of_its_own() -> None:
    draws = set()
    for step in range(3):
        for rank in range(4):
            torch.manual_seed(seed_of_step(7, step, rank))
            draws.add(float(torch.rand(())))
    assert len(draws) == 12


def test_processes_that_cannot_train_here_are_refused_before_anything_is_written(
    world: Path, tmp_path: Path
) -> None:
    overrides = ["training.devices=3", "training.batch_size=64", "training.accelerator=cpu"]
    with pytest.raises(ConfigError, match=r"64 windows cannot be split.*Take 63 or 66\."):
        train(load_config(world, overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_torchrun_decides_how_many_there_are(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    config = load_config(world, ["training.accelerator=cpu"]).training
    assert find_processes(config) == Processes(
        rank=3, count=4, local_rank=1, local_count=2, by_torchrun=True
    )
    wrong = load_config(world, ["training.accelerator=cpu", "training.devices=2"]).training
    with pytest.raises(ConfigError, match="2, but torchrun started 4 processes"):
        find_processes(wrong)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "size"),
    # The last batch of nines holds one window: two of the three processes step on nothing.
    [(2, 48), (3, 9)],
)
def test_several_processes_go_the_way_of_one(
    still: Path, tmp_path: Path, devices: int, size: int
) -> None:
    found = []
    for count in (1, devices):
        overrides = [f"training.devices={count}", f"training.batch_size={size}"]
        folder = tmp_path / f"runs{count}" / "run"
        result = train(load_config(still, overrides), folder)
        history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        _, model = load_checkpoint(folder / "last.mmts")
        found.append((result, history, model.state_dict()))
    (one, steps, weights), (several, same_steps, same_weights) = found
    for name, weight in weights.items():
        torch.testing.assert_close(same_weights[name], weight, rtol=1e-4, atol=1e-5)
    # The first line tells of the start alone.
    for epoch, same in zip(steps[1:], same_steps[1:], strict=True):
        for loss in (
            "train/loss",
            "val/loss",
            "val/network_share",
            "val/spread_share",
            "train/learning_rate",
        ):
            assert same[loss] == pytest.approx(epoch[loss], rel=1e-5)
    assert several.num_epochs == one.num_epochs == 2
    names = {path.name for path in (tmp_path / "runs1/run").iterdir()}
    assert {path.name for path in folder.iterdir()} == names
    assert [run.info.status for run in runs_in(folder.parent)] == ["FINISHED"]
    assert not multiprocessing.active_children()
    assert not torch.distributed.is_initialized()


@pytest.mark.slow
def test_what_ends_one_process_fails_the_run(
    still: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill_the_other(*_: object) -> None:
        for child in multiprocessing.active_children():
            child.kill()

    monkeypatch.setattr(EpochLog, "on_train_epoch_end", kill_the_other)
    with pytest.raises(TrainingError, match="process 2 of 2 was killed by signal 9"):
        train(load_config(still, ["training.devices=2"]), tmp_path / "run")
    assert [run.info.status for run in runs_in(tmp_path)] == ["FAILED"]
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_the_error_of_another_process_is_that_of_the_training(
    still: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_and_lose_the_data(config: ExperimentConfig, *rest: Any) -> Any:
        (still.parent / "weather.csv").unlink()
        return build_model(config, *rest)

    monkeypatch.setattr("mmts.training.linear_start.build_model", build_and_lose_the_data)
    monkeypatch.setattr("mmts.training.assignment.fingerprint", lambda _: {})
    monkeypatch.setattr("mmts.tracking.training_page.stream_paths", lambda _: {})
    with pytest.raises(DataError, match=r"weather\.csv"):
        train(load_config(still, ["training.devices=2"]), tmp_path / "run")
    assert [run.info.status for run in runs_in(tmp_path)] == ["FAILED"]


@pytest.mark.slow
def test_the_error_of_the_first_process_ends_the_others(still: Path, tmp_path: Path) -> None:
    overrides = ["training.devices=2", "training.learning_rate=1e30"]
    with pytest.raises(TrainingError, match="the loss is"):
        train(load_config(still, overrides), tmp_path / "run")
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_process_that_waits_for_a_lost_one_is_ended(
    still: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[tuple[int, str]] = []

    def lose_the_other_and_hang(*_: object) -> None:
        for child in multiprocessing.active_children():
            child.kill()
        until = time.monotonic() + 30
        while not ended and time.monotonic() < until:
            time.sleep(0.1)

    def note(code: int) -> None:
        ended.append((code, runs_in(tmp_path)[0].info.status))

    monkeypatch.setattr(team, "_SECONDS_TO_NOTICE", 0.2)
    monkeypatch.setattr(team.os, "_exit", note)
    monkeypatch.setattr(EpochLog, "on_train_epoch_end", lose_the_other_and_hang)
    with pytest.raises((TrainingError, RuntimeError)):
        train(load_config(still, ["training.devices=2"]), tmp_path / "run")
    assert ended == [(1, "FAILED")]


def start(*command: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, command)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A group of its own, as a terminal gives a command.
        start_new_session=True,
    )


def read_until(begun: subprocess.Popen[str], awaited: str) -> str:
    """Return what a command has shown once it has shown what is awaited."""
    assert begun.stdout is not None
    shown = ""
    while awaited not in shown:
        line = begun.stdout.readline()
        assert line, shown
        shown += line
    return shown


@pytest.mark.slow
@pytest.mark.parametrize("to_all", [True, False])
def test_ctrl_c_ends_all_processes(still: Path, tmp_path: Path, to_all: bool) -> None:
    begun = start(
        "mmts.pipelines.main", "train", still, "--runs", tmp_path, "--set", "training.devices=2",
        "--set", "training.max_epochs=500", "--set", "training.patience=500",
    )  # fmt: skip
    shown = read_until(begun, "epoch 1/")
    (os.killpg if to_all else os.kill)(begun.pid, signal.SIGINT)
    rest, _ = begun.communicate(timeout=60)
    assert begun.returncode == 130
    assert "Traceback" not in shown + rest
    assert [run.info.status for run in runs_in(tmp_path)] == ["KILLED"]
    # Nobody of the group is left, but what the system has not yet cleared away.
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-g", str(begun.pid)], capture_output=True, text=True, check=False
    )
    assert all(state.startswith("Z") for state in listed.stdout.split())


def listen(rank: int, store: Path) -> None:
    """Wait for what the first process tells, after longer than anything else waits."""
    distributed.init_process_group(
        "gloo",
        store=distributed.FileStore(str(store), 2),
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=1),
    )
    told = None
    if rank == 0:
        time.sleep(3)
        told = "all is kept"
    processes = Processes(rank=rank, count=2, by_torchrun=True)
    assert processes.tell(told) == "all is kept"
    distributed.destroy_process_group()


@pytest.mark.slow
def test_processes_of_torchrun_wait_for_what_the_first_does_afterwards(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=listen, args=(rank, tmp_path / "store")) for rank in (0, 1)]
    for process in both:
        process.start()
    for process in both:
        process.join(100)
    assert [process.exitcode for process in both] == [0, 0]


TORCHRUN = (
    "torch.distributed.run", "--standalone", "--nproc_per_node", 2, "-m", "mmts.pipelines.train",
)  # fmt: skip


@pytest.mark.slow
def test_torchrun_trains_in_its_processes(still: Path, tmp_path: Path) -> None:
    done = start(*TORCHRUN, still, "--runs", tmp_path)
    shown, _ = done.communicate(timeout=200)
    assert done.returncode == 0, shown
    assert shown.count("in 2 processes") == shown.count("epoch 2/2") == 1
    assert shown.count("checkpoint: ") == 1
    assert [run.info.status for run in runs_in(tmp_path)] == ["FINISHED"]
    alone = train(load_config(still), tmp_path / "alone" / "run")
    (folder,) = (path for path in tmp_path.iterdir() if path.name.startswith("small-world"))
    _, one = load_checkpoint(alone.checkpoint)
    _, two = load_checkpoint(folder / "best.mmts")
    for name, weight in one.state_dict().items():
        # With fewer threads each, the linear path is rounded otherwise while it is fitted.
        near = 1e-3 if name.startswith("linear.") else 1e-5
        torch.testing.assert_close(two.state_dict()[name], weight, rtol=1e-4, atol=near)


@pytest.mark.slow
def test_what_torchrun_trained_goes_on_under_it(still: Path, tmp_path: Path) -> None:
    epochs = ("--set", "training.max_epochs=4", "--set", "training.patience=4")
    whole = start(*TORCHRUN, still, "--run-dir", tmp_path / "whole" / "run", *epochs)
    shown, _ = whole.communicate(timeout=200)
    assert whole.returncode == 0, shown
    folder = tmp_path / "stopped" / "run"
    begun = start(*TORCHRUN, still, "--run-dir", folder, *epochs)
    shown = read_until(begun, "epoch 2/")
    # As a cluster ends a job; torchrun passes it on.
    begun.terminate()
    rest, _ = begun.communicate(timeout=60)
    assert begun.returncode != 0
    assert f"`mmts train --resume {folder}` goes on from here" in rest
    # The first process kept it before the others were gone.
    assert read_state(folder).state.epoch >= 1
    assert [run.info.status for run in runs_in(folder.parent)] == ["KILLED"]
    again = start(*TORCHRUN, "--resume", folder)
    shown, _ = again.communicate(timeout=200)
    assert again.returncode == 0, shown
    assert "epoch 1/" not in shown
    assert shown.count("epoch 4/") == 1
    assert [run.info.status for run in runs_in(folder.parent)] == ["FINISHED"]
    _, one = load_checkpoint(tmp_path / "whole" / "run" / "last.mmts")
    _, other = load_checkpoint(folder / "last.mmts")
    for name, weight in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], weight, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_processes_that_were_stopped_go_on_together(
    still: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ["training.devices=2", "training.batch_size=8", "training.max_epochs=2"]
    config = load_config(still, overrides)
    whole = train(config, tmp_path / "whole" / "run")
    take, steps = Optimisation.take, []

    def press_once(optimisation: Optimisation, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        steps.append(step)
        if len(steps) == 18:
            signal.raise_signal(signal.SIGINT)
        return take(optimisation, batch, step)

    monkeypatch.setattr(Optimisation, "take", press_once)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "stopped" / "run")
    assert not multiprocessing.active_children()
    # At the end of a round, as the other process waits for each of its steps.
    assert read_state(tmp_path / "stopped" / "run").state.num_steps == 20
    result = resume(tmp_path / "stopped" / "run")
    assert steps == list(range(steps[-1] + 1))
    for file in (whole.checkpoint, whole.folder / "last.mmts"):
        _, one = load_checkpoint(file)
        _, other = load_checkpoint(result.folder / file.name)
        # By as much as two of their trainings differ that nobody stops: sums are rounded otherwise.
        for name, weight in one.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], weight, rtol=0, atol=1e-5)
    assert [run.info.status for run in runs_in(tmp_path / "stopped")] == ["FINISHED"]
