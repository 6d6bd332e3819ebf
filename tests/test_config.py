"""Configs: read strictly, completed with defaults, and every fault told at once."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mmts.config import ExperimentConfig, load_config
from mmts.config_base import format_duration, parse_duration
from mmts.data.reading.sources import find_files
from mmts.data.source_files import stream_paths
from mmts.errors import ConfigError
from tests.conftest import ROOT
from tests.factories import make_settings, write_config


def refuse(folder: Path, settings: dict[str, Any], overrides: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(write_config(folder, settings), overrides)
    return str(caught.value)


BENCHMARK_DATA = ROOT.parent / "shared" / "data"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_config_loads(path: Path) -> None:
    config = load_config(path)
    if path.parent.name == "benchmarks":
        if not BENCHMARK_DATA.is_dir():
            pytest.skip("the benchmark sets are not part of the project")
        config = load_config(path, [f"data.root={BENCHMARK_DATA}"])
    for source in stream_paths(config.data).values():
        assert find_files(source)


def test_ten_lines_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(
        "name: small\n"
        "data:\n"
        "  horizon: 24h\n"
        "  streams:\n"
        "    load: {path: load.csv, time: time, target: [load]}\n"
        "    weather: {path: weather.csv, time: time}\n"
    )
    config = load_config(path)
    assert {name: e.kind for name, e in config.model.encoders.items()} == {
        "load": "patch", "weather": "patch"
    }  # fmt: skip
    assert {edge.to for edge in config.model.interactions} == {"load.1", "load.2", "load.3"}
    assert config.data.root == str(tmp_path.resolve())


def test_every_fault_is_told_at_once_with_path_and_nearest_key(tmp_path: Path) -> None:
    settings = make_settings()
    settings["data"]["streams"]["weather"]["dlay"] = "1h"
    settings["data"]["streams"]["plan"]["context_length"] = "1x"
    settings["model"]["encoders"]["load"]["kind"] = "pach"
    settings["model"]["interactions"][0]["fro"] = settings["model"]["interactions"][0].pop("from")
    settings["training"]["batch_size"] = 0
    told = refuse(tmp_path, settings)
    for words in (
        "data.streams.weather.dlay: unknown key; did you mean 'delay'?",
        "data.streams.plan.context_length: '1x' is not a length",
        "model.encoders.load: kind 'pach' is not known; choose one of 'patch'",
        "model.interactions.0.from: missing",
        "model.interactions.0.fro: unknown key; did you mean 'from'?",
        "training.batch_size: 0 will not do",
    ):
        assert words in told


@pytest.mark.parametrize(
    ("edge", "words"),
    [
        ({"from": "weather"}, "from.0: 'weather' is no node; write a stream and its layer, such"),
        ({"from": ["load.1", "head"]}, "from.1: 'head' is no node; write a stream and its layer"),
        ({"to": ["load.1", "load.2"]}, "to: ['load.1', 'load.2'] is no node; write a stream"),
        ({"from": []}, "from: [] will not do: list at least 1."),
        ({"kind": "atention"}, "or install or register your own first; did you mean "
         "'attention'?"),
        ({"preset": "lader"}, "preset: 'lader' will not do: choose 'none', 'last', 'ladder', "
         "'lowlevel', 'dense' or 'bottleneck'; did you mean 'ladder'?"),
        ("ladder", "model.interactions.0: 'ladder' is no group of settings; write {KEY: VALUE"),
    ],
)  # fmt: skip
def test_a_faulty_edge_is_refused_in_words(
    tmp_path: Path, edge: dict[str, Any] | str, words: str
) -> None:
    settings = make_settings()
    given = {"kind": "weighted", "from": "weather.1", "to": "load.1"}
    settings["model"]["interactions"] = [given | edge if isinstance(edge, dict) else edge]
    told = refuse(tmp_path, settings)
    assert words in told
    for jargon in ("pattern", "tuple", "after validation", "dictionary"):
        assert jargon not in told


def test_a_preset_that_would_connect_nothing_is_refused(tmp_path: Path) -> None:
    settings = make_settings()
    settings["model"]["encoders"]["load"]["num_layers"] = 9
    settings["model"]["interactions"] = [{"preset": "bottleneck"}]
    told = refuse(tmp_path, settings)
    assert "preset 'bottleneck' gives no edge: of 9 layers of load it reaches those after 3" in told
    settings["model"]["encoders"]["weather"] = {"kind": "conv", "dim": 8, "num_layers": 3}
    config = load_config(write_config(tmp_path, settings))
    assert [edge.to for edge in config.model.interactions] == ["load.4"]


def test_what_should_be_a_list_is_told_so(tmp_path: Path) -> None:
    settings = make_settings()
    settings["model"]["interactions"] = "none"
    assert "model.interactions: 'none' is no list; write [..., ...]." in refuse(tmp_path, settings)


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ([0.4999999, 0.5, 0.95], "0.4999999, 0.5 cannot be told from each other by six digits"),
        ([0.5, 0.9999999], "0.9999999 cannot be told from 1 by six digits"),
    ],
)
def test_levels_that_would_share_a_name_are_refused(
    tmp_path: Path, levels: list[float], words: str
) -> None:
    settings = make_settings()
    settings["model"]["head"] = {"kind": "quantile", "quantile_levels": levels}
    assert words in refuse(tmp_path, settings)


def test_levels_may_have_the_digits_of_a_computation(tmp_path: Path) -> None:
    settings = make_settings()
    levels = [0.1 + 0.2, 0.5, 2 / 3]
    settings["model"]["head"] = {"kind": "quantile", "quantile_levels": levels}
    config = load_config(write_config(tmp_path, settings))
    assert config.model.head.quantile_levels == tuple(levels)


def test_what_has_a_default_kind_may_leave_it_out(tmp_path: Path) -> None:
    settings = make_settings()
    settings["data"]["streams"]["news"]["text_features"] = {"dim": 5}
    settings["model"]["head"] = {"dim": 6}
    config = load_config(write_config(tmp_path, settings))
    assert config.data.streams["news"].text_features.kind == "tfidf"
    assert config.data.streams["news"].text_features.dim == 5
    assert (config.model.head.kind, config.model.head.dim) == ("quantile", 6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"static": ["area"]}, "nothing but static columns"),
        ({"time": None}, "'time' is missing"),
        ({"past": ["load"]}, "more than one role"),
        ({"category": ["load"]}, "must be a number"),
        ({"known_ahead": "1h"}, "speaks of future columns"),
        ({"target": []}, "no stream has a target"),
        (
            {"thousands": "."},
            "both '.'; they must differ. Where decimal is '.', set thou",
        ),
        ({"decimal": ",", "thousands": ","}, "Where decimal is ',', set thousands: '.' or take"),
    ],
)
def test_a_stream_that_contradicts_itself_is_refused(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    settings = make_settings()
    settings["data"]["streams"]["load"] |= change
    assert words in refuse(tmp_path, settings)


def test_holidays_of_a_name_and_not_of_a_code_are_refused_in_words(tmp_path: Path) -> None:
    settings = make_settings()
    calendar = {"calendar": ["holiday"], "holidays": "Germany"}
    settings["data"]["streams"]["calendar"] = calendar
    said = "holidays: 'Germany' will not do: write two letters of a country, and perhaps its part"
    assert said in refuse(tmp_path, settings)


def test_two_streams_with_targets_are_refused(tmp_path: Path) -> None:
    settings = make_settings()
    settings["data"]["streams"]["weather"]["target"] = ["wind"]
    assert "load, weather all have targets" in refuse(tmp_path, settings)


def test_an_encoder_of_no_stream_is_refused(tmp_path: Path) -> None:
    settings = make_settings()
    settings["model"]["encoders"]["wether"] = {"kind": "conv"}
    assert "no such stream; did you mean 'weather'?" in refuse(tmp_path, settings)


def test_set_goes_before_the_file(tmp_path: Path) -> None:
    path = write_config(tmp_path, make_settings())
    overrides = (
        "training.learning_rate=1e-3",
        "model.interactions.0.to=load.2",
        "model.encoders.weather.num_layers=3",
        "model.encoders.weather.layer_dims=[8, 8, 8]",
        "tracking.experiment=other",
    )
    config = load_config(path, overrides)
    assert config.training.learning_rate == 0.001
    assert config.model.interactions[0].to == "load.2"
    assert config.model.encoders["weather"].num_layers == 3
    assert config.tracking.experiment == "other"


def test_a_password_in_the_tracking_uri_is_refused_and_not_repeated(tmp_path: Path) -> None:
    settings = make_settings() | {"tracking": {"uri": "https://me:secret@example.org/mlflow"}}
    told = refuse(tmp_path, settings)
    assert "tracking.uri: 'uri' holds a user, a password" in told
    assert "secret" not in told


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.batch_size", "write it as key.of.setting=value"),
        ("model.interactions.9.to=load.1", "places 0 to 3"),
        ("name.first=x", "name holds no settings"),
        ("trainig.batch_size=3", "trainig: unknown key; did you mean 'training'?"),
    ],
)
def test_a_faulty_set_is_refused(tmp_path: Path, override: str, words: str) -> None:
    assert words in refuse(tmp_path, make_settings(), (override,))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\nname: b\n", "line 2: key 'name' stands in line 1 already"),
        ("name: [", "not well-formed YAML"),
        ("- 1\n", "holds no settings"),
        ("name: a\x00b\n", "not well-formed YAML"),
        ("data: {root: {{ folder }}}\n", "a key must be a word"),
        ("name: !!python/object/apply:os.system [ls]\n", "line 1: the tag"),
    ],
)
def test_a_faulty_yaml_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "faulty.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert words in str(caught.value)


def test_yaml_words_and_numbers_are_what_they_look_like(tmp_path: Path) -> None:
    settings = make_settings()
    path = write_config(tmp_path, settings)
    path.write_text(path.read_text() + "\n".join(["", "# end", ""]))
    config = load_config(path, ["data.streams.load.missing_values=[no, -9999, 1e-3, off]"])
    assert config.data.streams["load"].missing_values == ("no", -9999, 0.001, "off")


def test_the_resolved_config_reads_back_as_itself(tmp_path: Path) -> None:
    config = load_config(write_config(tmp_path, make_settings()))
    again = tmp_path / "elsewhere" / "resolved.yaml"
    again.parent.mkdir()
    again.write_text(config.to_yaml())
    assert load_config(again) == config
    assert ExperimentConfig.model_validate(json.loads(json.dumps(config.to_json()))) == config
    assert yaml.safe_load(config.to_yaml())["model"]["interactions"][0]["name"]


def test_the_json_schema_knows_every_key() -> None:
    text = json.dumps(ExperimentConfig.model_json_schema(by_alias=True))
    for key in ("known_ahead", "patch_length", "quantile_levels", "stream_dropout", '"from"'):
        assert key in text


def test_words_that_look_like_numbers_are_written_back_as_words(tmp_path: Path) -> None:
    overrides = ("data.streams.load.missing_values=['1e5', 'true', '1_0']",)
    config = load_config(write_config(tmp_path, make_settings()), overrides)
    again = tmp_path / "again.yaml"
    again.write_text(config.to_yaml())
    assert load_config(again) == config


@given(st.integers(1, 10**15).map(lambda n: timedelta(microseconds=n)))
def test_durations_read_back_as_themselves(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize("text", ["", "7", "d", "-1h", "1 month", "1h-", "99999999999d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["1d " * 60 + "!", " " * 20_000 + "!", "1d" + " " * 20_000 + "!"])
def test_a_long_text_that_is_no_duration_is_refused_at_once(text: str) -> None:
    # Were there many ways to read it, this would never end.
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)
