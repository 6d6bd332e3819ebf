"""What the page of a run says before and after a training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mmts.config import ExperimentConfig, load_config
from mmts.data.dataset import Dataset, load_dataset
from mmts.tracking.training_page import describe_run, identify_data, list_params
from tests.factories import make_settings, write_world


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    return load_config(write_world(tmp_path_factory.mktemp("page"), make_settings()))


@pytest.fixture(scope="module")
def dataset(config: ExperimentConfig) -> Dataset:
    return load_dataset(config.data)


def test_the_description_tells_what_is_forecast_and_from_what(
    config: ExperimentConfig, dataset: Dataset
) -> None:
    note = describe_run(config, dataset)
    first = note.partition("\n")[0]
    assert first == (
        "Forecasts **load**, 6 steps of 1h ahead, for 2 items (north, south), "
        "from stream `load` and 4 others."
    )
    for name in ("load", "weather", "plan", "news", "site"):
        assert f"| `{name}` | `{name}.csv` |" in note
    for name, begin, end in dataset.split.dates(dataset.schema):
        assert f"| {name} | {begin} | {end} | {len(dataset.windows(name)):,} |" in note
    assert "- `attention: weather.1 -> load.2`" in note
    assert "- head: quantile 0.1, 0.5, 0.9" in note
    assert len(note) < 5000


def test_params_are_flat_and_short(config: ExperimentConfig, dataset: Dataset) -> None:
    params = list_params(config, dataset, 12)
    assert all(isinstance(x, str | int | float | bool | None) for x in params.values())
    assert max(len(json.dumps(x)) for x in params.values()) < 500
    assert params["quantile_levels"] == "0.1, 0.5, 0.9"
    assert params["context.load"] == 24
    assert "context.site" not in params
    assert "attention: weather.1 -> load.2" in str(params["edges"])


def test_data_are_the_same_only_with_the_same_files_and_cuts(dataset: Dataset) -> None:
    hashes = {"load": "a" * 64, "plan": "b" * 64}
    same = identify_data(dataset, dict(reversed(hashes.items())))
    assert same == identify_data(dataset, hashes)
    assert same != identify_data(dataset, hashes | {"plan": "c" * 64})
    later = dataset.split.model_copy(update={"test": dataset.split.test + 3_600_000_000})
    assert same != identify_data(replace(dataset, split=later), hashes)


def test_many_streams_and_edges_are_counted(config: ExperimentConfig, dataset: Dataset) -> None:
    edge = config.model.interactions[1]
    many = tuple(edge.model_copy(update={"name": f"e{place}"}) for place in range(30))
    crowded = config.model_copy(
        update={"model": config.model.model_copy(update={"interactions": many})}
    )
    note = describe_run(crowded, dataset)
    assert "and 10 more interactions" in note
    assert note.count("residual: plan.1") == 20


def test_a_name_does_not_break_the_description(tmp_path: Path) -> None:
    settings = make_settings()
    settings["data"]["streams"]["weather"]["path"] = "the|weather.csv"
    world = write_world(tmp_path, settings)
    (tmp_path / "weather.csv").rename(tmp_path / "the|weather.csv")
    config = load_config(world)
    note = describe_run(config, load_dataset(config.data))
    assert "| `weather` | `the\\|weather.csv` |" in note
