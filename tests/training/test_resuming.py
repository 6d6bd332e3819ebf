"""A training that is stopped, and goes on as if nothing had happened."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmts.checkpoint import read_info
from mmts.config import ExperimentConfig, load_config
from mmts.data.batch import Batch
from mmts.errors import OutputError, RunError
from mmts.experiment import resume, train
from mmts.interrupts import Terminated
from mmts.training import leading, stopping
from mmts.training.loader import Rounds, ShuffledBatches
from mmts.training.module import ForecastingModule
from mmts.training.optimisation import Optimisation
from mmts.training.processes import ALONE, Processes
from mmts.training.state import FORMAT_VERSION, RESUME, TrainingState, read_state
from mmts.training.stopping import StopSignals
from tests.factories import make_stopping_settings, write_world

BATCHES = 18
"""Of an epoch: more than a round of sixteen."""

IN_LAST_EPOCH = -1
"""Stands for a step of the epoch after which the training ends."""

SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    """Return the config of a training that stops early, of which the last epoch is not the best."""
    folder = tmp_path_factory.mktemp("data") / "world"
    return load_config(write_world(folder, make_stopping_settings()))


@pytest.fixture(scope="module")
def whole(config: ExperimentConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a training that was never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    result = train(config, folder)
    assert result.num_epochs < config.training.max_epochs
    assert result.best_epoch < result.num_epochs
    return folder


def press(number: int = signal.SIGINT) -> None:
    signal.raise_signal(number)


def press_at_call(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, at: int, number: int = signal.SIGINT
) -> None:
    """Let a signal come before the given call, from 1, of a method or function."""
    original: Callable[..., Any] = getattr(owner, name)
    calls = []

    def call(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == at:
            press(number)
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, call)


LOSSES = (
    "epoch",
    "train/loss",
    "val/loss",
    "val/network_share",
    "val/spread_share",
    "train/learning_rate",
)


def history_of(folder: Path) -> list[list[float | None]]:
    lines = map(json.loads, (folder / "history.jsonl").read_text().splitlines())
    return [[line.get(name) for name in LOSSES] for line in lines]


def assert_same(folder: Path, whole: Path) -> None:
    for name in ("best.mmts", "last.mmts"):
        own, other = load_file(folder / name), load_file(whole / name)
        assert own.keys() == other.keys()
        assert all(torch.equal(own[key], other[key]) for key in own), name
        infos = [read_info(path / name).model_dump(mode="json") for path in (folder, whole)]
        assert infos[0] == infos[1]
    assert history_of(folder) == history_of(whole)
    states = [read_state(path).state for path in (folder, whole)]
    assert states[0].model_copy(update={"seconds": states[1].seconds}) == states[1]


@pytest.mark.parametrize(
    ("owner", "name", "at"),
    [
        pytest.param(Optimisation, "descend", 5, id="in the first round"),
        pytest.param(Optimisation, "descend", BATCHES + 16, id="between two rounds", marks=SLOW),
        pytest.param(
            Optimisation, "descend", 2 * BATCHES, id="in the last step of an epoch", marks=SLOW
        ),
        pytest.param(
            Optimisation, "descend", 2 * BATCHES + 1, id="in the first step of one", marks=SLOW
        ),
        pytest.param(Optimisation, "descend", IN_LAST_EPOCH, id="in the last epoch"),
        # Each validation has one batch; the first is that of the start.
        pytest.param(
            ForecastingModule, "validation_step", 1, id="in the validation of the start", marks=SLOW
        ),
        pytest.param(ForecastingModule, "on_validation_epoch_start", 3, id="before a validation"),
        pytest.param(
            ForecastingModule, "mean_train_loss", 2, id="at the end of an epoch", marks=SLOW
        ),
        pytest.param(leading, "begin_model", 1, id="before the linear start", marks=SLOW),
        pytest.param(leading, "calibrate", 1, id="before the calibration", marks=SLOW),
        pytest.param(leading, "record_outcome", 1, id="when all is kept"),
    ],
)
def test_a_stopped_training_goes_on_to_the_same_bits(
    config: ExperimentConfig, whole: Path, tmp_path: Path, owner: Any, name: str, at: int
) -> None:
    if at == IN_LAST_EPOCH:
        # Which one it is depends on how a processor rounds.
        at = history_of(whole)[-1][0] * BATCHES - 5
    with pytest.MonkeyPatch.context() as patch:
        press_at_call(patch, owner, name, at)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "run")
    assert read_state(tmp_path / "run").state.stage != "finished"
    resume(tmp_path / "run")
    assert_same(tmp_path / "run", whole)


def test_a_stop_in_a_round_loses_no_step(
    config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    press_at_call(monkeypatch, Optimisation, "descend", BATCHES + 5)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run")
    state = read_state(tmp_path / "run").state
    assert (state.epoch, state.epoch_steps, state.num_steps) == (1, 5, BATCHES + 5)
    assert state.stage == "trains"


def test_a_stop_in_a_validation_keeps_the_weights_and_not_their_mean(
    config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before: list[torch.Tensor] = []
    begin = ForecastingModule.on_validation_start

    def note(module: ForecastingModule) -> None:
        if module.num_steps:
            before[:] = [module.optimisation.weights[0].detach().clone()]
            press()
        begin(module)

    monkeypatch.setattr(ForecastingModule, "on_validation_start", note)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run")
    kept = read_state(tmp_path / "run")
    assert kept.state.epoch_steps == BATCHES
    equal = [torch.equal(before[0], held) for held in kept.tensors.values()]
    names = [name for name, same in zip(kept.tensors, equal, strict=True) if same]
    assert [name.partition("/")[0] for name in names] == ["model"]


def test_sigterm_stops_a_training_as_ctrl_c_does(
    config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    press_at_call(monkeypatch, Optimisation, "descend", 5, signal.SIGTERM)
    with pytest.raises(Terminated):
        train(config, tmp_path / "run")
    assert read_state(tmp_path / "run").state.num_steps == 5
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_signal_does_not_wait_and_harms_nothing(
    config: ExperimentConfig, whole: Path, tmp_path: Path
) -> None:
    original = Optimisation.take
    taken = []

    def press_twice(
        optimisation: Optimisation, batch: Batch, step: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if step == 25:
            press()
            press()
        taken.append(step)
        return original(optimisation, batch, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Optimisation, "take", press_twice)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "run")
    assert taken[-1] == 24
    resume(tmp_path / "run")
    assert_same(tmp_path / "run", whole)


def test_a_signal_that_is_swallowed_still_stops_the_training(
    config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = leading.begin_model

    def swallow(*arguments: Any) -> Any:
        # As a callback does whose errors nobody hears of.
        with contextlib.suppress(KeyboardInterrupt):
            press()
        return original(*arguments)

    monkeypatch.setattr(leading, "begin_model", swallow)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run")
    assert read_state(tmp_path / "run").state.stage == "begun"


def test_what_ignores_ctrl_c_goes_on_to_do_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals(ALONE) as signals:
            press()
        assert signals.noted is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_process_that_is_not_the_first_ends_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(stopping.os, "_exit", ended.append)
    monkeypatch.setattr(stopping, "_SECONDS_TO_FOLLOW", 0.2)
    second = Processes(rank=1, count=2)
    with StopSignals(second) as signals:
        press(signal.SIGTERM)
        # It goes on until what it shares with the first one fails.
        assert signals.noted == signal.SIGTERM
        with pytest.raises(Terminated):
            press(signal.SIGTERM)
    time.sleep(0.3)
    assert not ended
    with StopSignals(second):
        press(signal.SIGTERM)
        # Nothing fails where it alone was told to stop.
        until = time.monotonic() + 30
        while not ended and time.monotonic() < until:
            time.sleep(0.01)
    assert ended == [143]


def test_a_finished_training_is_left_as_it_is(config: ExperimentConfig, whole: Path) -> None:
    def look() -> Iterator[tuple[str, bytes, int]]:
        for path in sorted(whole.iterdir()):
            yield path.name, path.read_bytes(), path.stat().st_mtime_ns

    before = list(look())
    result = resume(whole, config)
    assert list(look()) == before
    assert result.num_epochs == history_of(whole)[-1][0]
    assert result.best_loss == min(line[2] for line in history_of(whole) if line[2] is not None)
    # Small, as nothing is left to go on with.
    assert not read_state(whole).tensors


def test_a_finished_training_without_its_history_is_still_finished(
    whole: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(whole, tmp_path / "run")
    (folder / "history.jsonl").unlink()
    assert resume(folder).best_loss == resume(whole).best_loss


@pytest.fixture
def stopped(config: ExperimentConfig, tmp_path: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        press_at_call(patch, Optimisation, "descend", 5)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "run")
    return tmp_path / "run"


def test_the_config_of_a_run_is_written_once(stopped: Path) -> None:
    def look() -> tuple[bytes, int]:
        path = stopped / "config.yaml"
        return path.read_bytes(), path.stat().st_mtime_ns

    before = look()
    resume(stopped)
    assert look() == before


def test_another_experiment_is_refused_with_what_differs(
    config: ExperimentConfig, stopped: Path
) -> None:
    other = config.model_copy(
        update={"training": config.training.model_copy(update={"learning_rate": 0.5}), "seed": 9}
    )
    with pytest.raises(RunError) as refused:
        resume(stopped, other)
    assert "seed: 1 in the run, 9 in the config" in str(refused.value)
    assert "training.learning_rate: 0.1 in the run, 0.5 in the config" in str(refused.value)


def test_a_config_that_was_changed_in_the_folder_is_refused(stopped: Path) -> None:
    path = stopped / "config.yaml"
    path.write_text(path.read_text().replace("max_epochs: 6", "max_epochs: 60"))
    with pytest.raises(RunError, match=r"training\.max_epochs: 6 in the run, 60 in config\.yaml"):
        resume(stopped)


def test_a_config_that_was_changed_before_anything_was_trained_is_refused_too(
    config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    # After the config is written, which says what was chosen for the linear path.
    monkeypatch.setattr(leading, "Team", killed)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run")
    monkeypatch.undo()
    assert read_state(tmp_path / "run").state.stage == "begun"
    path = tmp_path / "run/config.yaml"
    written = path.read_text()
    assert "reads: auto" not in written
    changes = {
        "training.max_epochs": ("max_epochs: 6", "max_epochs: 60"),
        "model.linear": (written[written.index("  linear:") :].split("\n  w")[0], "  linear: null"),
        "model": (written[written.index("model:") :].split("\ntraining:")[0], "model: null"),
        "model.linear.calendar": ("calendar: horizon", "calendar: all"),
    }
    for key, change in changes.items():
        path.write_text(written.replace(*change))
        assert path.read_text() != written
        with pytest.raises(RunError, match=f"{re.escape(key)}[^:]*: .* in config.yaml"):
            resume(tmp_path / "run")
    path.write_text(written)
    assert resume(tmp_path / "run").num_epochs > 0
    assert path.read_text() == written


def test_other_data_are_refused_and_the_stream_is_named(
    config: ExperimentConfig, stopped: Path
) -> None:
    path = Path(config.data.root) / "weather.csv"
    before = path.read_bytes()
    path.write_bytes(before + b"\n")
    try:
        with pytest.raises(RunError, match="content of stream weather has changed"):
            resume(stopped)
    finally:
        path.write_bytes(before)


def test_a_new_training_in_the_folder_of_an_unfinished_one_is_told_to_resume(
    config: ExperimentConfig, stopped: Path
) -> None:
    before = (stopped / RESUME).read_bytes()
    with pytest.raises(OutputError, match=r"not finished\. `mmts train --resume "):
        train(config, stopped)
    assert (stopped / RESUME).read_bytes() == before


def test_a_lost_checkpoint_is_missed(stopped: Path) -> None:
    (stopped / "best.mmts").unlink()
    with pytest.raises(RunError, match=r"its best\.mmts is gone"):
        resume(stopped)


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what a state says of itself, and keep its tensors."""
    kept = read_state(path.parent)
    facts = kept.state.model_dump(mode="json")
    change(facts)
    save_file(dict(kept.tensors), path, {"mmts-resume": json.dumps(facts)})


def test_what_cannot_be_resumed_is_said(stopped: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no such folder\. Nothing was trained there"):
        resume(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"holds no resume\.safetensors"):
        resume(tmp_path)
    path = stopped / RESUME
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match="is damaged"):
        resume(stopped)
    path.write_bytes(whole)
    rewrite(path, lambda facts: facts.update(epoch="soon"))
    with pytest.raises(RunError, match=r"is damaged, or no file of mmts \(epoch: Input should be"):
        resume(stopped)
    path.write_bytes(whole)
    rewrite(path, lambda facts: facts.update(format_version=99))
    said = f"is of format 99, and this mmts reads format {FORMAT_VERSION}"
    with pytest.raises(RunError, match=said):
        resume(stopped)
    path.write_bytes(whole)
    tensors = dict(read_state(stopped).tensors)
    name = next(name for name in tensors if name.endswith("exp_avg"))
    tensors[name] = torch.zeros(3)
    state: TrainingState = read_state(stopped).state
    save_file(tensors, path, {"mmts-resume": json.dumps(state.model_dump(mode="json"))})
    with pytest.raises(RunError, match="what it holds is not of this model"):
        resume(stopped)


def test_other_versions_are_told_of_and_go_on(
    stopped: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rewrite(stopped / RESUME, lambda facts: facts["versions"].update(torch="1.0"))
    resume(stopped)
    assert "with other versions (mmts " in caplog.text


def test_rounds_of_what_is_left_of_an_epoch(config: ExperimentConfig) -> None:
    from mmts.data.dataset import load_dataset

    windows = load_dataset(config.data).windows("train")
    every = list(ShuffledBatches(windows, 8, 1, 2, BATCHES))
    for num_read in (5, 16, BATCHES - 1, BATCHES):
        left = Rounds(ShuffledBatches(windows, 8, 1, 2, BATCHES, num_read=num_read))
        found = [list(batches) for batches in left]
        assert len(found) == len(left)
        flat = [batch for batches in found for batch in batches]
        assert len(flat) == BATCHES - num_read
        for batch, same in zip(flat, every[num_read:], strict=True):
            assert torch.equal(batch.target, same.target)


def test_another_number_of_processes_is_told_of_and_goes_on(
    stopped: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_state(stopped).state.num_processes == 1
    rewrite(stopped / RESUME, lambda facts: facts.update(num_processes=2))
    resume(stopped)
    assert "was trained in 2 processes so far, and goes on in 1" in caplog.text
    assert read_state(stopped).state.num_processes == 1
