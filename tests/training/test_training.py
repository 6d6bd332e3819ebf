"""The training loop: what it keeps, when it stops, and what it repeats."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mmts.checkpoint import build_model, load_checkpoint, read_info
from mmts.config import load_config
from mmts.data.batch import Batch
from mmts.data.dataset import load_dataset
from mmts.data.gathering import WindowGatherer
from mmts.errors import ConfigError, OutputError, TrainingError
from mmts.experiment import train
from mmts.losses import masked_mean
from mmts.training.callbacks import EpochLog
from mmts.training.data_module import WindowDataModule
from mmts.training.linear_start import start_model
from mmts.training.loader import Rounds, ShuffledBatches
from mmts.training.optimisation import Optimisation
from tests.factories import make_settings, write_config

NOTHING_LEARNED = [
    "training.max_epochs=1", "training.learning_rate=0.5", "model.window_normalization=true",
]  # fmt: skip


def test_best_is_the_best_epoch_and_last_the_last(world: Path, tmp_path: Path) -> None:
    overrides = ["training.max_epochs=4", "training.learning_rate=0.05"]
    result = train(load_config(world, overrides), tmp_path / "run")
    history = [
        json.loads(line) for line in (tmp_path / "run/history.jsonl").read_text().splitlines()
    ]
    losses = {epoch["epoch"]: epoch["val/loss"] for epoch in history}
    best, last = (read_info(tmp_path / "run" / name) for name in ("best.mmts", "last.mmts"))
    assert best.validation_loss == min(losses.values()) == result.best_loss
    assert losses[best.epoch] == best.validation_loss
    assert last.epoch == max(losses) == result.num_epochs
    assert last.validation_loss == losses[last.epoch]


def test_a_forecast_keeps_the_shares_of_the_network_that_validation_finds_worth_it(
    world: Path, tmp_path: Path
) -> None:
    # So fast that the network goes too far.
    config = load_config(world, ["training.max_epochs=2", "training.learning_rate=0.02"])
    result = train(config, tmp_path / "run")
    epoch = json.loads((result.folder / "history.jsonl").read_text().splitlines()[-1])
    info, model = load_checkpoint(result.folder / "last.mmts")
    windows = load_dataset(config.data).windows("validation")
    batch = windows.gather(torch.arange(len(windows)))
    losses: dict[tuple[float, float], float] = {}
    with torch.no_grad():
        for shares in model.network_share.offered:
            model.network_share.chosen.copy_(torch.tensor(shares))
            losses[shares] = float(
                masked_mean(model.head.loss(model(batch), batch.target), batch.target_observed)
            )
    # What training starts from is the linear path, whatever rounding says of shares of nothing.
    no_steps = train(load_config(world, NOTHING_LEARNED), tmp_path / "none").checkpoint
    assert read_info(no_steps).epoch == 0
    assert load_checkpoint(no_steps)[1].network_share.chosen.tolist() == [1, 1]
    chosen = (epoch["val/network_share"], epoch["val/spread_share"])
    assert chosen == model.network_share.choose(torch.tensor(list(losses.values())))
    # Each by itself: in this world the middle was learned, and the spread was not.
    assert chosen[0] > chosen[1]
    assert info.validation_loss == pytest.approx(losses[chosen], rel=1e-5)


def test_without_shrinkage_the_whole_network_counts(world: Path, tmp_path: Path) -> None:
    overrides = ["training.max_epochs=2", "training.learning_rate=0.02", "training.shrinkage=false"]
    result = train(load_config(world, overrides), tmp_path / "run")
    _, *lines = (result.folder / "history.jsonl").read_text().splitlines()
    for name in ("val/network_share", "val/spread_share"):
        assert [json.loads(line)[name] for line in lines] == [1, 1]
    assert load_checkpoint(result.folder / "last.mmts")[1].network_share.chosen.tolist() == [1, 1]


def test_training_stops_early_when_nothing_gets_better(world: Path, tmp_path: Path) -> None:
    overrides = [
        "training.max_epochs=50", "training.patience=2", "training.learning_rate=1e-12",
        "training.weight_decay=0",
    ]  # fmt: skip
    result = train(load_config(world, overrides), tmp_path / "run")
    assert result.num_epochs < 50


def test_training_on_the_latest_windows_reads_no_earlier_one(world: Path) -> None:
    config = load_config(world, ["training.recent=0.25"])
    dataset = load_dataset(config.data)
    everything, read = dataset.windows("train"), WindowDataModule(dataset, config.training, 0)
    earliest = read.train.windows.origins.min()
    left_out = everything.windows.origins[everything.windows.origins < earliest]
    assert len(read.train) + len(left_out) == len(everything)
    assert 0.25 * len(everything) <= len(read.train) < 0.3 * len(everything)
    assert read.windows_per_epoch == len(read.train)
    assert read.num_steps < WindowDataModule(dataset, load_config(world).training, 0).num_steps


def test_an_epoch_holds_every_window_once_in_an_order_of_its_own(world: Path) -> None:
    windows = load_dataset(load_config(world).data).windows("train")
    orders = []
    for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0)):
        batches = ShuffledBatches(windows, 32, seed, epoch)
        targets = torch.cat([batch.target for batch in batches])
        assert len(list(batches)) == len(batches)
        orders.append(targets)
    everything = windows.gather(torch.arange(len(windows))).target
    for order in orders:
        assert torch.equal(order.flatten().sort().values, everything.flatten().sort().values)
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], orders[3])


def test_the_order_of_an_epoch_is_the_same_in_half_the_bytes(world: Path) -> None:
    windows = load_dataset(load_config(world).data).windows("train")
    generator = torch.Generator().manual_seed(1_000_003 + 2)
    wide = torch.randperm(len(windows), generator=generator)
    (batch,) = ShuffledBatches(windows, len(windows), seed=1, epoch=2)
    assert torch.equal(batch.target, windows.gather(wide).target)


def test_a_short_epoch_is_the_beginning_of_the_whole_one(world: Path) -> None:
    windows = load_dataset(load_config(world).data).windows("train")
    short = ShuffledBatches(windows, 32, seed=1, epoch=0, max_batches=2)
    whole = list(ShuffledBatches(windows, 32, seed=1, epoch=0))
    assert len(short) == len(list(short)) == 2
    for one, other in zip(short, whole, strict=False):
        assert torch.equal(one.target, other.target)


@pytest.mark.parametrize("steps_per_round", [1, 3, 100])
def test_rounds_hold_the_batches_of_an_epoch_in_order(world: Path, steps_per_round: int) -> None:
    batches = ShuffledBatches(load_dataset(load_config(world).data).windows("train"), 32, 1, 0)
    rounds = Rounds(batches, steps_per_round)
    found = [list(round_) for round_ in rounds]
    assert len(found) == len(rounds)
    assert {len(round_) for round_ in found[:-1]} <= {steps_per_round}
    flat = [batch.target for round_ in found for batch in round_]
    assert len(flat) == len(batches)
    for one, other in zip(flat, batches, strict=True):
        assert torch.equal(one, other.target)


@pytest.mark.parametrize(
    ("averaging", "precision"), [("null", "32-true"), ("8", "32-true"), ("8", "bf16-mixed")]
)
def test_training_takes_the_steps_of_a_plain_loop_and_keeps_their_mean(
    averaging: str, precision: str, world: Path, tmp_path: Path
) -> None:
    overrides = ["training.max_epochs=2", "training.batch_size=48", "training.shrinkage=false"]
    overrides += [f"training.precision={precision}", f"training.weight_averaging={averaging}"]
    config = load_config(world, overrides)
    train(config, tmp_path / "run")
    dataset = load_dataset(config.data)
    _, model = start_model(config, dataset)
    model.train()
    windows, step = dataset.windows("train"), 0
    num_steps = 2 * len(ShuffledBatches(windows, 48, config.seed, 0))
    optimisation = Optimisation(model, config.training, num_steps)
    for epoch in range(2):
        for batch in ShuffledBatches(windows, 48, config.seed, epoch):
            torch.manual_seed(config.seed * 1_000_003 + step)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
                optimisation.loss(batch).backward()
            optimisation.descend(step)
            step += 1
    latest = optimisation.weights[0].detach().clone()
    if optimisation.average is not None:
        optimisation.average.swap()
    assert latest.equal(optimisation.weights[0]) == (averaging == "null")
    _, trained = load_checkpoint(tmp_path / "run" / "last.mmts")
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, trained.state_dict()[name]), name


def test_a_step_in_bf16_reads_the_weights_that_the_step_before_left(world: Path) -> None:
    config = load_config(world, ["training.precision=bf16-mixed", "training.learning_rate=0.05"])
    dataset = load_dataset(config.data)
    batches = list(ShuffledBatches(dataset.windows("train"), 48, config.seed, 0))[:3]
    found = []
    for contexts in ([batches], [[batch] for batch in batches]):
        _, model = start_model(config, dataset)
        optimisation = Optimisation(model.train(), config.training, num_steps=10)
        torch.manual_seed(1)
        for together in contexts:
            with torch.autocast("cpu", torch.bfloat16):
                for batch in together:
                    optimisation.loss(batch).backward()
                    optimisation.descend(step=5)
        found.append(model.state_dict())
    for name, weight in found[0].items():
        assert torch.equal(weight, found[1][name]), name


def test_each_epoch_tells_the_share_of_its_time_that_went_into_gathering(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, slow = WindowGatherer.batches, 0.02

    def yield_slowly(self: WindowGatherer, *how: Any) -> Iterator[Batch]:
        for batch in batches(self, *how):
            time.sleep(slow)
            yield batch

    monkeypatch.setattr(WindowGatherer, "batches", yield_slowly)
    config = load_config(world, ["training.max_epochs=2", "training.steps_per_epoch=4"])
    train(config, tmp_path / "run")
    lines = (tmp_path / "run/history.jsonl").read_text().splitlines()
    epochs = [line for line in map(json.loads, lines) if line["epoch"]]
    assert len(epochs) == 2
    for epoch in epochs:
        seconds = 4 * config.training.batch_size / epoch["train/windows_per_second"]
        assert 4 * slow <= epoch["train/wait_share"] * seconds < seconds


@pytest.mark.slow
# Nothing that mmts installs: a machine need not have one, and then cannot compile a model either.
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch compiles by a C++ compiler")
def test_a_compiled_training_goes_the_same_way(world: Path, tmp_path: Path) -> None:
    settings = make_settings()
    streams = settings["data"]["streams"]
    settings["data"]["streams"] = {name: streams[name] for name in ("load", "weather")}
    few = {"kind": "linear", "dim": 8, "num_layers": 1, "dropout": 0.0}
    settings["model"] = {
        "encoders": {"load": few, "weather": few},
        "interactions": [{"kind": "film", "from": "weather.1", "to": "load.1"}],
        "head": {"kind": "point", "dim": 8, "dropout": 0.0},
        "stream_dropout": 0.0,
    }
    small = write_config(world.parent, settings)
    losses = [
        train(load_config(small, [f"training.compile={how}"]), tmp_path / how).best_loss
        for how in ("false", "true")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.parametrize("num_tasks", [1, 2])
def test_a_batch_system_changes_nothing(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_tasks: int
) -> None:
    config = load_config(world, ["training.max_epochs=1"])
    plain = train(config, tmp_path / "plain" / "run")
    of_one = dict.fromkeys(("PROCID", "LOCALID", "NODEID"), 0)
    for name, value in {"NTASKS": num_tasks, "JOB_ID": 17, "JOB_NAME": "job", **of_one}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.chdir(tmp_path)
    # What Lightning would go on from; it is no checkpoint.
    (tmp_path / "hpc_ckpt_1.ckpt").write_bytes(b"nothing")
    answers = []
    note = EpochLog.on_train_epoch_end

    def look(*arguments: Any) -> None:
        answers.append(signal.getsignal(signal.SIGUSR1))
        note(*arguments)

    monkeypatch.setattr(EpochLog, "on_train_epoch_end", look)
    beside = train(config, tmp_path / "beside" / "run")
    assert beside.best_loss == plain.best_loss
    # Lightning would ask for the job to be begun again.
    assert set(answers) == {signal.SIG_DFL}


def test_too_little_memory_gives_advice(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_out(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has")

    monkeypatch.setattr(Optimisation, "loss", run_out)
    with pytest.raises(TrainingError, match=r"memory \(CUDA out of memory\). Lower training.batch"):
        train(load_config(world), tmp_path / "run")


def test_the_rate_rises_and_falls(world: Path) -> None:
    config = load_config(world, ["training.learning_rate=0.5", "training.warmup_fraction=0.1"])
    dataset = load_dataset(config.data)
    model = build_model(config, dataset.schema, dataset.scaling)
    rates = [Optimisation(model, config.training, 100).learning_rate(n) for n in range(101)]
    assert rates[:10] == pytest.approx([0.05 * (n + 1) for n in range(10)])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.25)
    assert rates[100] == pytest.approx(0.0)


def test_training_survives_a_tracking_server_that_is_not_there(
    world: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    overrides = ["tracking={uri: 'http://127.0.0.1:9'}"]
    result = train(load_config(world, overrides), tmp_path / "run")
    assert result.checkpoint.is_file()
    assert result.run_id is None
    assert caplog.text.count("does not answer: training goes on") == 1


def test_a_training_that_fails_says_why_on_its_page(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise TrainingError("the validation loss is nan after epoch 1")

    monkeypatch.setattr("mmts.training.fitting.fit", fail)
    with pytest.raises(TrainingError):
        train(load_config(world, ["tracking={tags: {team: grid}}"]), tmp_path / "runs" / "one")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'runs/mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'small-world'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    assert run.data.tags["error"] == "TrainingError: the validation loss is nan after epoch 1"
    assert run.data.tags["team"] == "grid"
    assert "## Verdict" not in run.data.tags["mlflow.note.content"]


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(
    world: Path, tmp_path: Path
) -> None:
    if torch.backends.mps.is_available():
        pytest.skip("this machine has the device that the test needs to be absent")
    with pytest.raises(ConfigError, match="there is no mps on this machine"):
        train(load_config(world, ["training.accelerator=mps"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_folder_that_is_a_file_is_refused(world: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        train(load_config(world), tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"
