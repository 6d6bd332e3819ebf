"""The facts about the data: rows, gaps, what is missing, and what is known at an origin."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from mmts.config import load_config
from mmts.data.dataset import Dataset, load_dataset
from mmts.data.findings.coverage import cover_streams
from mmts.data.findings.facts import (
    StreamFacts,
    count_batch_bytes,
    count_stream_bytes,
    state_facts,
    state_splits,
)
from tests.factories import START, make_frames, make_settings, write_config, write_frames

HOUR = 3_600_000_000


def load(
    folder: Path, frames: dict[str, pd.DataFrame], settings: dict[str, Any] | None = None
) -> Dataset:
    write_frames(folder, frames)
    return load_dataset(load_config(write_config(folder, settings or make_settings())).data)


def facts_of(dataset: Dataset) -> dict[str, StreamFacts]:
    coverages = cover_streams(dataset.streams, dataset.scaling)
    return {facts.name: facts for facts in state_facts(dataset, coverages)}


@pytest.fixture
def frames() -> dict[str, pd.DataFrame]:
    return make_frames()


def test_rows_gaps_and_the_longest_of_them_are_counted(
    tmp_path: Path, frames: dict[str, pd.DataFrame]
) -> None:
    weather = frames["weather"]
    # Two places without a row, three rows without a cell behind them, and one elsewhere.
    frames["weather"] = weather.drop(index=[10, 11, 150])
    frames["weather"].loc[12:14, ["temperature", "wind"]] = float("nan")
    facts = facts_of(load(tmp_path, frames))["weather"]
    assert (facts.num_rows, facts.num_gaps, facts.num_items) == (256 - 6, 6, 2)
    assert facts.every == "3h"
    assert facts.longest_gap is not None
    assert facts.longest_gap.item == "north"
    assert facts.longest_gap.start == str(START + 10 * pd.Timedelta("3h"))
    assert (facts.longest_gap.num_places, facts.longest_gap.length) == (5, 15 * HOUR)
    assert (facts.first, facts.last) == ("2024-01-01 00:00:00", "2024-01-17 00:00:00")


def test_what_is_missing_is_told_by_column(tmp_path: Path, frames: dict[str, pd.DataFrame]) -> None:
    frames["weather"].loc[::4, "wind"] = float("nan")
    facts = facts_of(load(tmp_path, frames))["weather"]
    assert [column.missing for column in facts.columns] == [0.0, 0.25]
    assert facts.missing == 0.125


def test_an_item_without_a_row_is_named(tmp_path: Path, frames: dict[str, pd.DataFrame]) -> None:
    frames["site"] = frames["site"][frames["site"]["item"] == "north"]
    facts = facts_of(load(tmp_path, frames))["site"]
    assert facts.is_static
    assert (facts.num_items, facts.absent_items) == (1, ("south",))
    assert facts_of(load(tmp_path, frames))["news"].num_items is None


def test_the_age_of_the_newest_row_follows_its_delay(
    tmp_path: Path, frames: dict[str, pd.DataFrame]
) -> None:
    facts = facts_of(load(tmp_path, frames))
    assert facts["load"].age == (0, 0)
    weather = facts["weather"]
    # Rows of three hours that are known two hours late: two, three or four hours old.
    assert weather.age == (3 * HOUR, 4 * HOUR)
    assert weather.delay == 2 * HOUR
    assert weather.unknown == 0


def test_how_much_of_the_horizon_is_known_is_told(
    tmp_path: Path, frames: dict[str, pd.DataFrame]
) -> None:
    assert facts_of(load(tmp_path, frames))["plan"].horizon_known == 1.0
    settings = make_settings()
    settings["data"]["streams"]["plan"]["known_ahead"] = "2h"
    facts = facts_of(load(tmp_path, frames, settings))
    # At the origin the first step, and those of one and of two hours later.
    assert facts["plan"].horizon_known == 0.5
    assert facts["load"].horizon_known is None


def test_rows_that_say_when_they_were_known_have_a_lateness(
    tmp_path: Path, frames: dict[str, pd.DataFrame]
) -> None:
    dataset = load(tmp_path, frames)
    coverage = cover_streams(dataset.streams, dataset.scaling)["weather"]
    available = coverage.ends + HOUR
    available[5] += 6 * HOUR
    stated = replace(coverage.stream, available=torch.from_numpy(available))
    streams = {**dataset.streams, "weather": stated}
    facts = facts_of(replace(dataset, streams=streams))["weather"]
    assert facts.lateness == (HOUR, 7 * HOUR)


def test_events_have_a_typical_distance_and_no_gaps(
    tmp_path: Path, frames: dict[str, pd.DataFrame]
) -> None:
    settings = make_settings()
    settings["data"]["streams"]["news"]["stamp"] = "event"
    facts = facts_of(load(tmp_path, frames, settings))["news"]
    assert (facts.every, facts.typical_distance) == (None, 24 * HOUR)
    assert (facts.num_gaps, facts.longest_gap) == (0, None)


def test_lost_origins_are_counted_with_their_reason(
    tmp_path: Path, frames: dict[str, pd.DataFrame]
) -> None:
    frames["load"].loc[100:110, "load"] = float("nan")
    dataset = load(tmp_path, frames)
    train, validation, test = state_splits(dataset)
    for split in (train, validation, test):
        assert split.origins.num_windows == len(dataset.windows(split.name))
    assert train.origins.without_context == 2 * 24
    # Eleven hours in a row without a value hold six horizons of six hours.
    assert train.origins.without_target == 6
    assert test.origins.without_context == test.origins.without_target == 0


def test_the_bytes_of_a_batch_are_those_of_its_tensors(
    tmp_path: Path, frames: dict[str, pd.DataFrame]
) -> None:
    dataset = load(tmp_path, frames)
    batch = dataset.windows("train").gather(torch.arange(32))
    tensors = [batch.step_edges, batch.target, batch.target_observed]
    tensors += [tensor for window in batch.streams.values() for tensor in vars(window).values()]
    expected = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    assert count_batch_bytes(dataset.schema, 32) == expected
    assert count_stream_bytes(dataset.streams["weather"]) == 256 * 2 * (4 + 1)
