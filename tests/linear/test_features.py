"""Windows as rows of numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmts.config import load_config
from mmts.data.config import DataConfig
from mmts.data.dataset import Dataset, load_dataset, load_streams
from mmts.data.gathering import WindowGatherer
from mmts.data.windows import Windows
from mmts.linear.features import CalendarPart, WindowFeatures, relative_to
from mmts.linear.path import measure_unit
from tests.factories import (
    add_words,
    make_frames,
    make_settings,
    write_config,
    write_frames,
    write_world,
)

CONFIGS = DataConfig.model_validate(make_settings()["data"])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(load_config(write_world(tmp_path_factory.mktemp("world"))).data)


def rows_of(dataset: Dataset, windows: WindowGatherer, unit: str = "train") -> Tensor:
    batch = windows.gather(torch.arange(min(40, len(windows))))
    spread = measure_unit("window" if unit == "window" else "train", batch.streams, dataset.schema)
    return WindowFeatures(dataset.schema, dataset.category_sizes)(batch.streams, spread)


def test_values_are_relative_to_the_last_one_observed() -> None:
    values = torch.tensor([[0.0, 3.0, 0.0, 5.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]])[..., None]
    observed = torch.tensor([[0, 1, 0, 1, 0], [0, 0, 0, 0, 0]]).bool()[..., None]
    relative, last = relative_to("last", values, observed)
    # Before the first one nothing is known: as the last one. A gap holds what stood before it.
    assert relative[0, :, 0].tolist() == [0.0, -2.0, -2.0, 0.0, 0.0]
    assert last[:, 0, 0].tolist() == [5.0, 0.0]
    assert not relative[1].any()


def test_values_are_relative_to_the_mean_of_those_observed() -> None:
    values = torch.tensor([[0.0, 3.0, 0.0, 5.0]])[..., None]
    observed = torch.tensor([[0, 1, 0, 1]]).bool()[..., None]
    relative, mean = relative_to("mean", values, observed)
    assert relative[0, :, 0].tolist() == [0.0, -1.0, 0.0, 1.0]
    assert mean.flatten().tolist() == [4.0]


def test_every_code_has_a_place_and_the_unseen_one_too(dataset: Dataset) -> None:
    expected = len(dataset.schema.target_columns)
    for name, stream in dataset.schema.streams.items():
        sizes = [len(v) + 1 for v in dataset.scaling[name].vocabularies.values()]
        numbers = len(stream.columns) - len(sizes)
        ages = 0 if stream.is_static else 1 if stream.is_regular else stream.num_steps
        expected += stream.num_steps * (numbers + sum(sizes) + len(stream.columns)) + ages
    rows = rows_of(dataset, dataset.windows("test"))
    assert rows.shape[1] == expected
    assert WindowFeatures(dataset.schema, dataset.category_sizes).num_features == expected
    assert rows.isfinite().all()


@pytest.mark.parametrize("part", ["horizon", "all"])
def test_of_a_calendar_the_horizon_is_read_and_of_holidays_the_context_too(
    part: CalendarPart, tmp_path: Path
) -> None:
    frames, settings = make_frames(), make_settings()
    settings["data"]["streams"]["calendar"] = {
        "calendar": ["weekday", "time_of_day", "holiday"], "holidays": "DE", "context_length": "6h",
    }  # fmt: skip
    write_frames(tmp_path / "world", frames)
    dataset = load_dataset(load_config(write_config(tmp_path / "world", settings)).data)
    schema = dataset.schema
    calendar = schema.streams["calendar"]
    batch = dataset.windows("test").gather(torch.arange(8))
    spread = measure_unit("train", batch.streams, schema)
    features = WindowFeatures(schema, dataset.category_sizes, calendar=part)
    rows = features(batch.streams, spread)
    assert rows.shape[1] == features.num_features
    window = batch.streams["calendar"]
    for step in range(calendar.num_steps):
        values = window.values.clone()
        values[:, step] -= 1
        moved = {**batch.streams, "calendar": replace(window, values=values)}
        # One for each circle and the holiday, and two places of the weekday.
        changed = int((features(moved, spread) != rows).any(dim=0).sum())
        is_read = part == "all" or step >= calendar.context_steps
        assert changed >= 4 if is_read else changed == 1


def test_texts_can_be_left_out_and_what_stands_beside_them_stays(tmp_path: Path) -> None:
    frames, settings = make_frames(), make_settings()
    add_words(frames, settings)
    streams = settings["data"]["streams"]
    alone = {name: streams["news"][name] for name in ("path", "time", "text", "text_features")}
    streams["bodies"] = alone | {"context_length": "4d"}
    write_frames(tmp_path / "world", frames)
    dataset = load_dataset(load_config(write_config(tmp_path / "world", settings)).data)
    batch = dataset.windows("test").gather(torch.arange(8))
    spread = measure_unit("train", batch.streams, dataset.schema)
    without = WindowFeatures(dataset.schema, dataset.category_sizes, with_texts=False)
    rows = without(batch.streams, spread)
    assert rows.shape[1] == without.num_features
    news = dataset.schema.streams["news"]
    with_texts = WindowFeatures(dataset.schema, dataset.category_sizes)
    # Three features and a flag of each body; of a stream of its own the age as well.
    fewer = news.num_steps * 4 + dataset.schema.streams["bodies"].num_steps * 4 + 1
    assert with_texts.num_features - without.num_features == fewer
    place_of = {c.name: place for c, place in zip(news.columns, news.slices, strict=True)}
    for name, place in (("news", place_of["body"]), ("bodies", slice(None))):
        window = batch.streams[name]
        values, observed = window.values.clone(), window.observed.clone()
        values[..., place] += 1
        observed[:, -1, place] = False
        moved = {**batch.streams, name: replace(window, values=values, observed=observed)}
        assert torch.equal(without(moved, spread), rows)
        assert not torch.equal(with_texts(moved, spread), with_texts(batch.streams, spread))
    # Of the last row there is nothing but the text, or not even that.
    window = batch.streams["news"]
    empty, text_alone = window.observed.clone(), window.observed.clone()
    empty[:, -1] = text_alone[:, -1] = False
    text_alone[:, -1, place_of["body"]] = True
    first, second = (
        without({**batch.streams, "news": replace(window, observed=observed)}, spread)
        for observed in (empty, text_alone)
    )
    assert torch.equal(first, second)
    mood = window.values.clone()
    mood[..., place_of["mood"]] += torch.arange(news.num_steps)[:, None]
    moved = {**batch.streams, "news": replace(batch.streams["news"], values=mood)}
    assert not torch.equal(without(moved, spread), rows)


def test_only_the_past_of_the_target_is_in_the_unit_of_its_window(dataset: Dataset) -> None:
    windows = dataset.windows("test")
    train, window = rows_of(dataset, windows), rows_of(dataset, windows, "window")
    batch = windows.gather(torch.arange(len(train)))
    spread = measure_unit("window", batch.streams, dataset.schema)[:, 0]
    changed = ((train - window).abs() > 1e-6).any(dim=0)
    steps = dataset.schema.target.num_steps
    assert 0 < int(changed.sum()) <= steps
    torch.testing.assert_close(train[:, changed], window[:, changed] * spread)


def test_a_level_that_no_training_window_had_changes_nothing_of_the_past(dataset: Dataset) -> None:
    frames = make_frames()
    frames["weather"].iloc[:, 2:] += 1000
    streams, _ = load_streams(CONFIGS, dataset.schema, dataset.scaling, frames)
    shifted = WindowGatherer(dataset.schema, streams, dataset.windows("test").windows)
    one, other = rows_of(dataset, dataset.windows("test")), rows_of(dataset, shifted)
    torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def test_an_absent_stream_is_all_zero(dataset: Dataset) -> None:
    frames = make_frames()
    del frames["weather"]
    schema = dataset.schema
    streams, _ = load_streams(CONFIGS, schema, dataset.scaling, frames)
    windows = Windows(torch.tensor([0, 1]), dataset.windows("test").windows.origins[:2])
    present = rows_of(dataset, WindowGatherer(schema, dataset.streams, windows))
    absent = rows_of(dataset, WindowGatherer(schema, streams, windows))
    gone = (present != absent).any(dim=0)
    assert gone.any()
    assert not absent[:, gone].any()
