"""What `mmts check` says, in words and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmts.checkpoint import build_model
from mmts.config import load_config
from mmts.data.dataset import load_dataset
from mmts.data.times import say_span
from mmts.summary import Summary, summarise
from tests.conftest import Command
from tests.factories import make_frames, make_settings, write_config, write_frames, write_world

MICRO = 1_000_000


def summary_of(path: Path) -> Summary:
    config = load_config(path)
    dataset = load_dataset(config.data)
    return summarise(config, dataset, build_model(config, dataset.schema, dataset.scaling))


def faulty_world(folder: Path) -> Path:
    """Write a world with a spike, a leak, and an item that a stream does not have."""
    frames = make_frames()
    frames["load"]["staff"] = frames["load"].groupby("item")["load"].shift(-2)
    frames["weather"].loc[7, "wind"] = 1e6
    frames["site"] = frames["site"][:1]
    write_frames(folder, frames)
    return write_config(folder, make_settings())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0s"),
        (90, "1min30s"),
        (3600, "1h"),
        (86_400 * 7, "7d"),
        (86_400 + 3 * 3600 + 1799, "1d3h"),
        (3599.9, "60min"),
        (-7200, "-2h"),
        (0.25, "0.25s"),
    ],
)
def test_spans_are_written_in_two_units(seconds: float, words: str) -> None:
    assert say_span(round(seconds * MICRO)) == words


def test_every_part_is_said(world: Path) -> None:
    text = summary_of(world).to_text()
    for part in (
        "small-world: load of 2 items, 6 steps of 1h ahead",
        "every",
        "missing",
        "12+6 rows",
        "3h before the origin (at most 4h)",
        "100.0%",
        "left out: no full context",
        "a batch of 64",
        "model: 13,440 weights",
        "attention: weather.1 -> load.2",
        "unusual: nothing was found",
    ):
        assert part in text


def test_a_leak_is_said_once(tmp_path: Path) -> None:
    summary = summary_of(faulty_world(tmp_path))
    assert [finding.kind for finding in summary.findings] == ["leak", "spike"]
    text = summary.to_text()
    assert text.count("equals the target") == 1
    assert "unusual (2; nothing was changed):" in text
    assert "note: stream 'site' has no row of item south: absent there" in text


def test_json_holds_every_fact(tmp_path: Path) -> None:
    summary = summary_of(faulty_world(tmp_path))
    found = json.loads(json.dumps(summary.to_json(), allow_nan=False))
    weather = next(stream for stream in found["streams"] if stream["name"] == "weather")
    assert weather["delay_seconds"] == 7200
    assert weather["age_seconds"] == {"median": 10_800, "largest": 14_400}
    assert [column["name"] for column in weather["columns"]] == ["temperature", "wind"]
    assert [split["name"] for split in found["splits"]] == ["train", "validation", "test"]
    assert found["splits"][0]["without_context"] == 48
    assert set(found["memory"]) == {"streams_bytes", "batch_bytes", "weights_bytes", "batch_size"}
    leak, spike = found["findings"]
    assert (leak["kind"], leak["stream"], leak["column"]) == ("leak", "load", "staff")
    assert spike["message"].startswith("stream 'weather', column 'wind': 1 value far outside")


def test_a_column_that_is_missing_more_than_the_others_is_named(tmp_path: Path) -> None:
    frames = make_frames()
    frames["weather"].loc[::2, "wind"] = np.nan
    write_frames(tmp_path, frames)
    text = summary_of(write_config(tmp_path, make_settings())).to_text()
    assert "missing most: wind 50.0%" in text


def test_the_command_says_draws_and_prints_json(mmts: Command, tmp_path: Path) -> None:
    path, picture = faulty_world(tmp_path), tmp_path / "check.png"
    done = mmts("check", path, "--json", "--plot", picture)
    assert done.returncode == 0, done.stderr
    assert "warning: stream 'load', column 'staff': equals the target" in done.stderr
    assert len(json.loads(done.stdout)["findings"]) == 2
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_picture_never_takes_the_place_of_an_input(mmts: Command, tmp_path: Path) -> None:
    path = faulty_world(tmp_path)
    before = (tmp_path / "load.csv").read_bytes()
    done = mmts("check", path, "--plot", tmp_path / "load.csv")
    assert done.returncode == 2
    assert "holds data of a stream, which would be overwritten" in done.stderr
    assert (tmp_path / "load.csv").read_bytes() == before


def test_edges_are_told_with_what_was_set_on_them_and_twins_are_named(tmp_path: Path) -> None:
    settings = make_settings()
    edge = {"kind": "attention", "from": "weather.1", "to": "load.1"}
    settings["model"]["interactions"] = [
        edge,
        edge | {"max_lag": "6h", "causal": False},
        edge | {"name": "mine"},
    ]
    graph = summary_of(write_world(tmp_path, settings)).graph
    assert [line for line in graph if line.startswith("attention:")] == [
        "attention: weather.1 -> load.1",
        "attention: weather.1 -> load.1 (causal false; max_lag 6h)",
        "attention: weather.1 -> load.1 (name mine; the same as attention_weather.1_to_load.1)",
    ]
