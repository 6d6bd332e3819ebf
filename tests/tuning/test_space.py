"""The search space: what it may hold, and what a trial makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmts.config import ExperimentConfig, load_config
from mmts.errors import ConfigError
from mmts.tuning.config import Range
from mmts.tuning.space import load_searched_config
from tests.factories import make_settings, write_config
from tests.tuning.worlds import make_searched_settings


def refuse(folder: Path, search: dict[str, Any], **tuning: Any) -> str:
    path = write_config(folder, make_searched_settings(search, **tuning))
    with pytest.raises(ConfigError) as caught:
        load_searched_config(path)
    return str(caught.value)


def test_every_fault_of_a_space_is_told_at_once(tmp_path: Path) -> None:
    told = refuse(
        tmp_path,
        {
            "training.patience": {"low": 3, "high": 1},
            "training.learning_rate": {"low": 0, "high": 1, "log": True},
            "training.batch_size": {"low": 8, "high": 20, "step": 5},
            "training.max_epochs": {"low": 8, "high": 32, "step": 8, "log": True},
            "training.weight_decay": [],
            "model.stream_dropout": [0.1, 0.1],
            "model.head.dim": {"low": 8, "hihg": 16},
            "model.head.dropout": {"low": "a", "high": True},
            "training.warmup_fraction": 0.1,
        },
        trials=3,
        pruner="mean",
    )
    for words in (
        "search.training.patience: 'low' (3) must lie below 'high' (1)",
        "search.training.learning_rate: 'log' needs numbers above 0",
        "search.training.batch_size: steps of 5 from 8 never meet 'high' (20)",
        "search.training.max_epochs: 'log' goes with 'step: 1' or none",
        "search.training.weight_decay: [] will not do: list at least 1",
        "search.model.stream_dropout: 0.1 stands there more than once",
        "search.model.head.dim.high: missing",
        "search.model.head.dim.hihg: unknown key; did you mean 'high'?",
        "search.model.head.dropout.low: 'a' is not a number",
        "search.model.head.dropout.high: True is not a number",
        "search.training.warmup_fraction: write a list of choices, or a range",
        "tuning.trials: unknown key; did you mean 'num_trials'?",
        "tuning.pruner: 'mean' will not do",
    ):
        assert words in told


def test_every_key_and_value_that_no_trial_could_take_is_told_at_once(tmp_path: Path) -> None:
    told = refuse(
        tmp_path,
        {
            "training.lerning_rate": [1e-3, 1e-2],
            "training.batch_size": [64, 0, -1],
            "training.patience": {"low": 1.5, "high": 4},
            "training.max_epochs": {"low": 0, "high": 2, "step": 1},
            "model.encoders.lod.dim": [8],
            "model.encoders.load.num_layers": [1, 0],
            "model.interactions.3.kind": ["film"],
            "model.interactions.0.to": ["load.1", "load.7"],
            "model.encoders.news": [{"kind": "mlp"}, {"kind": "mpl"}],
            "model.encoders.news.dim": [4],
            "tracking.enabled": [True, False],
        },
    )
    for words in (
        "search.training.lerning_rate: unknown key; did you mean 'learning_rate'?",
        "search.training.batch_size: 0 will not do",
        "search.training.batch_size: -1 will not do",
        "search.training.patience: 1.5 will not do",
        "search.training.max_epochs: 0 will not do",
        "search.model.encoders.lod.dim: there is no such stream; did you mean 'load'?",
        "search.model.encoders.load.num_layers: 0 will not do",
        "search.model.interactions.3.kind: model.interactions.3 does not exist",
        "search.model.interactions.0.to: with 'load.7'",
        "search.model.encoders.news: kind 'mpl' is not known",
        "search.model.encoders.news: holds model.encoders.news.dim, which is searched as well",
        "search.tracking.enabled: makes no model better",
    ):
        assert words in told
    assert told.count("lerning_rate") == 1


@pytest.mark.parametrize(
    ("key", "choices"),
    [
        ("data.horizon", ["6h", "3h"]),
        ("data.split.validation", [0.7, 0.6]),
        ("data.streams.load.target", [["load"], ["staff"]]),
        ("data.exclude_items", [[], ["north"]]),
        ("model.head.quantile_levels", [[0.1, 0.5, 0.9], [0.4, 0.5, 0.6]]),
        ("model.head", [{"kind": "quantile"}, {"kind": "point"}]),
    ],
)
def test_what_the_loss_is_measured_on_cannot_be_searched(
    tmp_path: Path, key: str, choices: list[Any]
) -> None:
    settings = make_searched_settings({key: choices})
    settings["data"]["streams"]["load"]["past"] = []
    with pytest.raises(ConfigError, match=f"{key}: changes .*could not be compared"):
        load_searched_config(write_config(tmp_path, settings))


def test_a_trial_is_the_config_with_the_keys_set(tmp_path: Path) -> None:
    path = write_config(tmp_path, make_searched_settings())
    searched = load_searched_config(path)
    values = {"training.learning_rate": 0.004, "model.encoders.news.dim": 6}
    expected = load_config(path, [f"{key}={value}" for key, value in values.items()])
    assert searched.with_values(values) == expected.model_copy(update={"tuning": None})
    assert searched.config.training.learning_rate == 1e-3


def test_one_key_of_an_encoder_that_nobody_wrote_keeps_its_other_defaults(tmp_path: Path) -> None:
    settings = make_searched_settings({"model.encoders.load.dim": [32, 48]})
    del settings["model"]
    searched = load_searched_config(write_config(tmp_path, settings))
    default = searched.config.model.encoders["load"]
    trial = searched.with_values({"model.encoders.load.dim": 48}).model.encoders["load"]
    assert trial == default.model_copy(update={"dim": 48})


def test_presets_follow_the_layers_of_a_trial(tmp_path: Path) -> None:
    settings = make_searched_settings({"model.encoders.load.num_layers": [1, 3]})
    settings["model"]["interactions"] = [{"preset": "ladder", "kind": "attention"}]
    settings["model"]["encoders"]["news"]["num_layers"] = 3
    searched = load_searched_config(write_config(tmp_path, settings))

    def edges(num_layers: int) -> ExperimentConfig:
        return searched.with_values({"model.encoders.load.num_layers": num_layers})

    assert len(edges(3).model.interactions) > len(edges(1).model.interactions)


@pytest.mark.parametrize(
    ("settings", "whole", "examples"),
    [
        ({"low": 1, "high": 4, "step": 1}, True, [1, 2, 3, 4]),
        ({"low": 8, "high": 24, "step": 8}, True, [8, 16, 24]),
        ({"low": 0.0, "high": 0.5, "step": 0.25}, False, [0.0, 0.25, 0.5]),
        ({"low": 0, "high": 1}, False, [0, 1]),
        ({"low": 1, "high": 500, "step": 1, "log": True}, True, [1, 500]),
    ],
)
def test_a_range_is_whole_where_its_step_is(
    settings: dict[str, Any], whole: bool, examples: list[float]
) -> None:
    found = Range.model_validate(settings)
    assert found.is_whole == whole
    assert found.examples() == examples


def test_a_config_without_a_search_says_how_one_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to search"):
        load_searched_config(write_config(tmp_path, make_settings()))


def test_a_config_with_a_search_reads_back_as_itself(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path, make_searched_settings(timeout="2h")))
    again = tmp_path / "again.yaml"
    again.write_text(config.to_yaml())
    assert load_config(again) == config
    assert config.tuning is not None
    assert list(config.tuning.search) == ["training.learning_rate", "model.encoders.news.dim"]
