"""Studies: what they look at, keep and refuse, and how they go on."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mmts.training.assignment
from mmts.checkpoint import read_info
from mmts.config import load_config
from mmts.data.dataset import Dataset, load_dataset
from mmts.errors import ConfigError, DataError, OutputError
from mmts.experiment import train
from mmts.tuning.config import TuningConfig
from mmts.tuning.space import load_searched_config
from mmts.tuning.study import OpenTrial, Study, best_of
from mmts.tuning.tune import StudyResult, tune
from tests.factories import make_frames, write_config, write_frames, write_world
from tests.tuning.worlds import make_searched_settings, write_searched


def losses(result: StudyResult) -> list[float | None]:
    return [record.loss for record in result.records]


def tried(result: StudyResult) -> list[dict[str, Any]]:
    return [record.values for record in result.records]


def with_noise(split: str, folder: Path, settings: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """Return the world with all values from one cut to the next overwritten by noise."""
    config = load_config(write_config(folder, settings))
    dates = load_dataset(config.data).split
    begin, end = (pd.Timestamp(time, unit="us") for time in dates.bounds(split))
    random = np.random.default_rng(5)
    frames = make_frames()
    for frame in frames.values():
        if "time" in frame:
            stamps = frame["time"]
            inside = (stamps >= begin) & (stamps < end)
            for column in frame.select_dtypes("number"):
                filled = inside & frame[column].notna()
                assert filled.any()
                frame.loc[filled, column] = random.normal(0, 100, int(filled.sum()))
    return frames


def test_the_test_split_decides_nothing(tmp_path: Path) -> None:
    settings = make_searched_settings(num_trials=3)
    found = {}
    for name in ("none", "test", "validation"):
        folder = tmp_path / name
        write_frames(folder, make_frames())
        if name != "none":
            write_frames(folder, with_noise(name, folder, settings))
        found[name] = tune(
            load_searched_config(write_config(folder, settings)), tmp_path / f"study-{name}"
        )
    assert losses(found["test"]) == losses(found["none"])
    assert tried(found["test"]) == tried(found["none"])
    best, expected = found["test"].best, found["none"].best
    assert best is not None
    assert expected is not None
    assert best.number == expected.number
    # The same noise where the study does look is seen.
    assert losses(found["validation"]) != losses(found["none"])


def test_the_best_config_trains_as_it_is_to_the_same_loss(tmp_path: Path) -> None:
    result = tune(write_searched(tmp_path, make_searched_settings(num_trials=3)), tmp_path / "s")
    assert result.best is not None
    assert result.best.loss == min(loss for loss in losses(result) if loss is not None)
    again = train(load_config(result.folder.best_config), tmp_path / "again")
    assert again.best_loss == result.best.loss
    kept = read_info(result.folder.best_checkpoint)
    assert kept.validation_loss == result.best.loss
    written = load_config(result.folder.best_config)
    # The checkpoint says what was chosen for the linear path, which the file may leave open.
    asked = kept.config.model.model_copy(update={"linear": written.model.linear})
    assert kept.config.model_copy(update={"model": asked}) == written


def test_only_the_best_checkpoint_is_kept(tmp_path: Path) -> None:
    result = tune(write_searched(tmp_path, make_searched_settings(num_trials=3)), tmp_path / "s")
    assert list((tmp_path / "s").rglob("*.mmts")) == [result.folder.best_checkpoint]
    assert len(list((tmp_path / "s").rglob("history.jsonl"))) == 3


def test_the_table_holds_every_trial(tmp_path: Path) -> None:
    result = tune(write_searched(tmp_path, make_searched_settings(num_trials=2)), tmp_path / "s")
    with result.folder.table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["validation_loss"]) for row in rows] == losses(result)
    for row, record in zip(rows, result.records, strict=True):
        assert {key: float(row[key]) for key in record.values} == record.values


@pytest.mark.parametrize("trial", [0, 2])
def test_a_study_that_was_stopped_finds_what_one_never_stopped_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trial: int
) -> None:
    settings = make_searched_settings(num_trials=4, startup_trials=2)
    searched = write_searched(tmp_path, settings)
    whole = tune(searched, tmp_path / "whole")

    def stop(self: OpenTrial, epoch: int, loss: float, is_last: bool) -> bool:
        if self.number == trial:
            raise KeyboardInterrupt
        return goes_on(self, epoch, loss, is_last)

    goes_on = OpenTrial.goes_on
    with monkeypatch.context() as patch:
        patch.setattr(OpenTrial, "goes_on", stop)
        first = tune(searched, tmp_path / "stopped")
    assert isinstance(first.interrupt, KeyboardInterrupt)
    assert first.num_missing == 4 - trial
    assert losses(first) == losses(whole)[:trial]
    second = tune(searched, tmp_path / "stopped")
    assert second.interrupt is None
    assert (losses(second), tried(second)) == (losses(whole), tried(whole))
    # What was trained by half is gone.
    assert len(list((tmp_path / "stopped" / "trials").iterdir())) == 4


def test_a_study_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    searched = write_searched(tmp_path, make_searched_settings(num_trials=2))
    first = tune(searched, tmp_path / "s")
    longer = load_searched_config(tmp_path / "config.yaml", ["tuning.num_trials=3"])
    second = tune(longer, tmp_path / "s")
    assert losses(second)[:2] == losses(first)
    assert len(second.records) == 3
    third = tune(longer, tmp_path / "s")
    assert third.records == second.records


def test_no_trial_begins_when_the_time_is_over(tmp_path: Path) -> None:
    settings = make_searched_settings(num_trials=2, timeout="0s")
    result = tune(write_searched(tmp_path, settings), tmp_path / "s")
    assert (result.records, result.num_missing, result.best) == ([], 2, None)
    assert result.interrupt is None


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.batch_size=64", "training.batch_size: 128 in the study, 64 now"),
        ("tuning.search={training.patience: [1, 2]}", "tuning.search.training.patience"),
        ("tuning.seed=3", "tuning.seed: 0 in the study, 3 now"),
    ],
)
def test_a_folder_with_a_study_of_something_else_is_refused(
    tmp_path: Path, override: str, words: str
) -> None:
    tune(write_searched(tmp_path, make_searched_settings(num_trials=1)), tmp_path / "s")
    before = {path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()}
    other = load_searched_config(tmp_path / "config.yaml", [override])
    with pytest.raises(OutputError, match="holds a study of something else") as caught:
        tune(other, tmp_path / "s")
    assert words in str(caught.value)
    assert before == {
        path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()
    }


def test_a_study_of_other_data_is_refused(tmp_path: Path) -> None:
    searched = write_searched(tmp_path, make_searched_settings(num_trials=1))
    tune(searched, tmp_path / "s")
    frames = make_frames()
    frames["news"].loc[3, "mood"] = 7.0
    write_frames(tmp_path, frames)
    with pytest.raises(OutputError, match="data of stream news: other content than in the study"):
        tune(searched, tmp_path / "s")


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "mine.txt").write_text("mine")
    searched = write_searched(tmp_path, make_searched_settings(num_trials=1))
    with pytest.raises(OutputError, match="holds files already, and no study"):
        tune(searched, tmp_path / "s")
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["mine.txt"]


def test_two_commands_do_not_work_on_one_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = write_searched(tmp_path, make_searched_settings(num_trials=1))
    refused = []

    def ask(self: Study) -> OpenTrial:
        with pytest.raises(OutputError, match="is writing to it"):
            tune(searched, tmp_path / "s")
        refused.append(True)
        return asked(self)

    asked = Study.ask
    monkeypatch.setattr(Study, "ask", ask)
    assert len(tune(searched, tmp_path / "s").records) == 1
    assert refused == [True]


def test_bad_data_leave_no_study_behind(tmp_path: Path) -> None:
    searched = write_searched(tmp_path, make_searched_settings())
    (tmp_path / "news.csv").unlink()
    with pytest.raises(DataError, match=r"news\.csv: no such file"):
        tune(searched, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_trial_that_fails_is_told_and_does_not_end_the_study(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_searched_settings(
        {"training.learning_rate": [1e-3, 1e30]}, num_trials=6, startup_trials=6
    )
    settings["training"] |= {"max_epochs": 2}
    result = tune(write_searched(tmp_path, settings), tmp_path / "s")
    outcomes = {record.outcome for record in result.records}
    assert outcomes == {"complete", "failed"}
    for record in result.records:
        assert (record.outcome == "failed") == (record.values["training.learning_rate"] == 1e30)
    assert result.first_failure is None
    assert "failed: the loss is" in caplog.text
    assert "the loss is" in result.folder.table.read_text()


def test_where_every_trial_fails_the_first_reason_is_told(tmp_path: Path) -> None:
    settings = make_searched_settings({"training.learning_rate": [1e30]}, num_trials=2)
    settings["training"] |= {"max_epochs": 2}
    result = tune(write_searched(tmp_path, settings), tmp_path / "s")
    assert result.best is None
    assert result.first_failure is not None
    assert "the loss is" in result.first_failure
    assert not result.folder.best_config.exists()


def test_an_own_bug_is_shown_and_is_not_met_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = write_searched(tmp_path, make_searched_settings(num_trials=2))

    def fail(self: OpenTrial, epoch: int, loss: float, is_last: bool) -> bool:
        raise ZeroDivisionError("ours")

    with monkeypatch.context() as patch:
        patch.setattr(OpenTrial, "goes_on", fail)
        with pytest.raises(ZeroDivisionError):
            tune(searched, tmp_path / "s")
    result = tune(searched, tmp_path / "s")
    assert [record.outcome for record in result.records] == ["failed", "complete"]
    assert result.records[0].reason == "ZeroDivisionError: ours"


def count_readings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    readings = []

    def read(config: Any) -> Dataset:
        readings.append(config)
        return load_dataset(config)

    monkeypatch.setattr(mmts.training.assignment, "load_dataset", read)
    return readings


def test_data_are_read_once_for_all_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = count_readings(monkeypatch)
    tune(write_searched(tmp_path, make_searched_settings(num_trials=3)), tmp_path / "s")
    assert len(readings) == 1


def test_a_key_of_the_data_is_searched_on_data_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = count_readings(monkeypatch)
    settings = make_searched_settings(
        {"data.streams.news.context_length": ["4d", "2d"]}, num_trials=4, startup_trials=4
    )
    # Where training begins with a linear path, so few steps may be worth nothing to either.
    settings["model"] = {**settings.get("model", {}), "linear": None}
    result = tune(write_searched(tmp_path, settings), tmp_path / "s")
    assert {record.outcome for record in result.records} == {"complete"}
    by_length = {tuple(record.values.values()): record.loss for record in result.records}
    assert len(set(by_length.values())) == 2
    assert 2 <= len(readings) <= 3


@pytest.mark.parametrize(
    ("key", "kept", "other"),
    [
        # So long that the first windows of the validation split have no full context.
        ("data.streams.load.context_length", "24h", "270h"),
        # As if what is hard to forecast had never been.
        ("data.streams.load.valid_range", {}, {"load": [None, 500]}),
    ],
)
def test_trials_that_are_measured_on_something_else_are_not_compared(
    tmp_path: Path, key: str, kept: object, other: object
) -> None:
    settings = make_searched_settings({key: [kept, other]}, num_trials=6, startup_trials=6)
    settings["data"]["split"] = {"validation": "2024-01-12", "test": "2024-01-15"}
    path = write_world(tmp_path, settings)
    frames = make_frames()
    load = frames["load"]
    load.loc[load["time"] == "2024-01-13T05:00", "load"] = 1000.0
    write_frames(tmp_path, frames)
    result = tune(load_searched_config(path), tmp_path / "s")
    for record in result.records:
        (value,) = record.values.values()
        assert record.outcome == ("complete" if value == kept else "failed")
    assert len({record.outcome for record in result.records}) == 2


def test_a_trial_is_not_over_before_its_files_are_cleared_away(tmp_path: Path) -> None:
    tuning = TuningConfig(search={"x": {"low": 0, "high": 1}})
    study = Study(tmp_path / "study.db", tuning)
    killed = study.ask()
    # Killed again over its files, before the loop asked for the next one.
    for _ in range(2):
        assert next(study.repeat_interrupted()).number == killed.number
    assert [record.number for record in study.repeat_interrupted()] == [killed.number]
    assert list(study.repeat_interrupted()) == []
    # Once, however often it was begun to clear away.
    again = study.ask()
    assert again.values == killed.values
    again.fail("tried", 0.0)
    assert study.ask().values != killed.values


def test_halving_gives_further_epochs_to_the_best_alone(tmp_path: Path) -> None:
    tuning = TuningConfig(search={"x": {"low": 0, "high": 1}}, pruner="halving")
    study = Study(tmp_path / "study.db", tuning)
    epochs = [draw(study, lambda epoch, level=level: float(level)) for level in (1, 2, 3, 0.5)]
    assert epochs[0] == epochs[3] == 6
    assert epochs[1:3] == [1, 1]


def draw(study: Study, curve: Callable[[int], float], num_epochs: int = 6) -> int:
    """Play a trial with these validation losses; returns the epochs it was given."""
    trial = study.ask()
    for epoch in range(1, num_epochs + 1):
        if not trial.goes_on(epoch, curve(epoch), epoch == num_epochs):
            break
    trial.end(curve(epoch), epoch, epoch, 0.0)
    return epoch


def test_the_median_pruner_ends_a_hopeless_trial_after_its_warm_up(tmp_path: Path) -> None:
    tuning = TuningConfig(search={"x": {"low": 0, "high": 1}}, startup_trials=2, warmup_epochs=2)
    study = Study(tmp_path / "study.db", tuning)
    assert draw(study, lambda epoch: 1 / epoch) == 6
    # Nothing is pruned before there is something to compare with.
    assert draw(study, lambda epoch: 9.0) == 6
    assert draw(study, lambda epoch: 1.1 / epoch) == 6
    assert draw(study, lambda epoch: 8.0) == 3
    study.close()
    records = Study(tmp_path / "study.db", tuning).records()
    assert [record.outcome for record in records] == ["complete"] * 3 + ["pruned"]
    assert records[-1].num_epochs == 3


def test_what_was_trained_to_its_end_is_a_result(tmp_path: Path) -> None:
    tuning = TuningConfig(search={"x": {"low": 0, "high": 1}}, pruner="halving")
    study = Study(tmp_path / "study.db", tuning)
    # After four epochs, the last ones, halving would end all but the best so far; which is last.
    levels = ((1, 9, 9, 3), (0.9, 9, 9, 2.9), (0.8, 9, 9, 2.8), (0.7, 9, 9, 2.7), (0.6, 9, 9, 2.75))
    for level in levels:
        draw(study, lambda epoch, level=level: level[epoch - 1], num_epochs=4)
    assert [record.outcome for record in study.records()] == ["complete"] * 5
    best = best_of(study.records())
    assert best is not None
    assert best.loss == 2.7


def test_an_end_by_patience_is_no_pruning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = {"model.stream_dropout": {"low": 0.0, "high": 0.3}}
    settings = make_searched_settings(search, num_trials=1)
    settings["training"] |= {"max_epochs": 5, "patience": 1, "learning_rate": 1e-30}
    asked = []

    def look(self: OpenTrial, epoch: int, loss: float, is_last: bool) -> bool:
        asked.append((epoch, is_last))
        return goes_on(self, epoch, loss, is_last)

    goes_on = OpenTrial.goes_on
    monkeypatch.setattr(OpenTrial, "goes_on", look)
    result = tune(write_searched(tmp_path, settings), tmp_path / "s")
    assert asked == [*((epoch, False) for epoch in range(1, len(asked))), (len(asked), True)]
    assert len(asked) < 5
    assert [record.outcome for record in result.records] == ["complete"]


def test_without_a_pruner_every_trial_is_trained_to_its_end(tmp_path: Path) -> None:
    tuning = TuningConfig(search={"x": {"low": 0, "high": 1}}, startup_trials=1, pruner="none")
    study = Study(tmp_path / "study.db", tuning)
    assert [draw(study, lambda epoch, level=level: float(level)) for level in (1, 9, 9)] == [6] * 3


def test_a_training_ends_after_the_epoch_in_which_it_is_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_searched_settings(num_trials=1)
    settings["training"] |= {"max_epochs": 5}

    def prune(self: OpenTrial, epoch: int, loss: float, is_last: bool) -> bool:
        self.was_pruned = epoch == 2
        return not self.was_pruned

    monkeypatch.setattr(OpenTrial, "goes_on", prune)
    result = tune(write_searched(tmp_path, settings), tmp_path / "s")
    (record,) = result.records
    assert (record.outcome, record.num_epochs) == ("pruned", 2)
    assert result.best is None


def test_choices_of_every_kind_come_back_as_they_were(tmp_path: Path) -> None:
    choices = [1, 1.0, True, "1", None, [1, 2], {"kind": "mlp"}]
    tuning = TuningConfig(search={"x": choices}, startup_trials=40, num_trials=40)
    study = Study(tmp_path / "study.db", tuning)
    found = {repr(study.ask().values["x"]) for _ in range(40)}
    assert found == {repr(choice) for choice in choices}
    assert {repr(record.values["x"]) for record in study.records()} == found


def test_several_processes_for_one_trial_are_refused(tmp_path: Path) -> None:
    settings = make_searched_settings()
    settings["training"]["devices"] = 2
    with pytest.raises(ConfigError, match=r"training\.devices: a study trains each trial in one"):
        tune(write_searched(tmp_path, settings), tmp_path / "s")
