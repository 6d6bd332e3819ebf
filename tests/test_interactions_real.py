"""The comparison on real sets: what it joins, how it counts, and what it keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from early_table import AGE, FILE, write_early
from paired_intervals import BLOCK_HORIZONS, compare, cut_blocks
from real_runs import Job, ResultsFile, run_job
from real_sets import SETS, load_set
from real_tables import as_markdown, as_text, choice_lines, set_table
from real_variants import TOLERANCE, VARIANTS, VariantBuilder

from mmts.config import ExperimentConfig, load_config, validate_config
from mmts.data.dataset import load_dataset
from mmts.model import ModelConfig
from tests.factories import make_frames, make_settings, write_config, write_frames, write_world

HOUR = pd.Timedelta("1h")
FAST = ["training.max_epochs=1", "training.steps_per_epoch=2", "tracking={enabled: false}"]
SEED = 1


def world_config(folder: Path) -> ExperimentConfig:
    return load_config(write_world(folder / "world", make_settings()), FAST)


def join(folder: Path, one_table: bool = False) -> pd.DataFrame:
    config = world_config(folder)
    settings = write_early(load_dataset(config.data), config, folder, one_table)
    validate_config(settings, "early")
    return pd.read_csv(folder / FILE, parse_dates=["time"])


def standardised(values: pd.Series) -> np.ndarray:
    return ((values - values.mean()) / values.std()).to_numpy()


def test_a_joined_row_holds_what_was_known_when_it_was_over(tmp_path: Path) -> None:
    table = join(tmp_path)
    weather = make_frames()["weather"]
    north = table[table["item"] == "north"].reset_index(drop=True)
    own = weather[weather["item"] == "north"]
    rows = []
    for time in north["time"]:
        # Three hours long, and on the desk two hours later.
        known = own[own["time"] + 3 * HOUR + 2 * HOUR <= time + HOUR]
        rows.append(known.iloc[-1] if len(known) else None)
    expected = pd.Series([np.nan if row is None else row["temperature"] for row in rows])
    found = north["weather temperature"]
    assert found.isna().equals(expected.isna())
    kept = expected.notna()
    np.testing.assert_allclose(standardised(found[kept]), standardised(expected[kept]), atol=1e-4)
    age = [
        np.nan if r is None else (t + HOUR - r["time"]) / HOUR
        for t, r in zip(north["time"], rows, strict=True)
    ]
    np.testing.assert_allclose(north[f"weather temperature{AGE}"], age)


def test_what_was_not_observed_is_joined_as_missing(tmp_path: Path) -> None:
    frames = make_frames()
    frames["load"].loc[40:60, "load"] = np.nan
    frames["weather"].loc[20:30, "temperature"] = np.nan
    write_frames(tmp_path / "world", frames)
    config = load_config(write_config(tmp_path / "world", make_settings()), FAST)
    write_early(load_dataset(config.data), config, tmp_path, one_table=False)
    table = pd.read_csv(tmp_path / FILE, parse_dates=["time"])
    both = table.merge(frames["load"], on=["time", "item"], validate="one_to_one")
    assert both["load"].isna().sum() > 20
    assert both["load load"].isna().equals(both["load"].isna())
    # In place of what was not measured stands what was known before, for as long as it counts.
    age = table.loc[table["item"] == "north", f"weather temperature{AGE}"].iloc[60:100]
    assert age.max() == 18
    assert age.isna().sum() > 10


def test_what_is_known_ahead_stands_in_its_own_row(tmp_path: Path) -> None:
    north = join(tmp_path).query("item == 'north'")
    plan = make_frames()["plan"].query("item == 'north'").set_index("time")
    expected = plan.loc[north["time"], "planned"]
    np.testing.assert_allclose(
        standardised(north["plan planned"]), standardised(expected), atol=1e-4
    )


def test_nothing_published_later_moves_a_joined_row(tmp_path: Path) -> None:
    before = join(tmp_path)
    path, moment = tmp_path / "world" / "weather.csv", pd.Timestamp("2024-01-14 09:00")
    weather = pd.read_csv(path, parse_dates=["time"])
    late = weather["time"] + 5 * HOUR > moment
    weather.loc[late, ["temperature", "wind"]] = 1e6
    weather.to_csv(path, index=False)
    config = load_config(tmp_path / "world" / "config.yaml", FAST)
    write_early(load_dataset(config.data), config, tmp_path, one_table=False)
    after = pd.read_csv(tmp_path / FILE, parse_dates=["time"])
    over = before["time"] + HOUR <= moment
    pd.testing.assert_frame_equal(before[over], after[over])
    assert not before.equals(after)


@pytest.mark.parametrize("one_table", [False, True])
def test_the_joined_experiment_keeps_the_known_future(tmp_path: Path, one_table: bool) -> None:
    config = world_config(tmp_path)
    settings = write_early(load_dataset(config.data), config, tmp_path, one_table)
    streams = settings["data"]["streams"]
    assert list(streams) == (["load"] if one_table else ["load", "plan"])
    assert streams["load"]["future"] == (["plan planned", "plan shift"] if one_table else [])
    assert "plan planned" in streams["load"]["future" if one_table else "past"]
    assert {"site area", "news mood", "weather wind"} <= set(streams["load"]["past"])
    assert "plan shift" in streams["load"]["category"]


@pytest.mark.parametrize("name", ["none", "ladder", "early", "one_table", "single"])
def test_every_variant_has_the_same_number_of_weights(tmp_path: Path, name: str) -> None:
    builder = VariantBuilder(world_config(tmp_path), 40_000, tmp_path)
    for variant in builder.build(name):
        assert abs(variant.num_weights - 40_000) <= TOLERANCE * 40_000
        assert variant.config(3).seed == 3


def test_blocks_are_long_beside_the_horizon() -> None:
    origins = np.arange(1000)
    blocks = cut_blocks(origins, 24)
    assert np.bincount(blocks).min() >= BLOCK_HORIZONS * 24
    assert (np.diff(blocks) >= 0).all()


def test_a_difference_is_clear_only_where_blocks_agree() -> None:
    base = np.random.default_rng(0).gamma(2, 2, (3, 40))
    same = compare(base, base)
    assert (same.percent, same.low, same.high, same.is_clear) == (0, 0, 0, False)
    worse = compare(1.1 * base, base)
    assert worse.is_clear
    assert (worse.percent, worse.low, worse.high) == pytest.approx((10, 10, 10))
    mixed = base.copy()
    mixed[:, ::2] *= 1.2
    mixed[:, 1::2] *= 0.8
    assert not compare(mixed, base).is_clear


def test_an_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    inside = 0
    for draw in range(40):
        base = random.gamma(4, 1, (1, 40))
        found = compare(base * random.normal(1.05, 0.1, (1, 40)), base, seed=draw)
        inside += found.low <= 5 <= found.high
    assert 34 <= inside <= 40


def make_job(folder: Path, variant: str = "none") -> Job:
    builder = VariantBuilder(world_config(folder), 40_000, folder)
    (built,) = builder.build(variant)
    settings = built.config(SEED).to_json()
    return Job("world", variant, SEED, built.num_weights, settings, {}, {"WORK": str(folder)})


def test_a_finished_run_is_found_again_and_another_is_not(tmp_path: Path) -> None:
    results = ResultsFile(tmp_path / "results.json")
    job = make_job(tmp_path / "first")
    moved = make_job(tmp_path / "second")
    assert job.digest == moved.digest
    results.add(run_job(job))
    again = ResultsFile(tmp_path / "results.json")
    assert again.find(moved) is not None
    longer = json.loads(json.dumps(job.settings))
    longer["training"]["max_epochs"] = 2
    assert again.find(replace(job, settings=longer)) is None
    assert again.find(replace(job, seed=2)) is None


def test_the_table_holds_models_beside_baselines(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    runs = {name: [run_job(replace(job, variant=name))] for name in ("none", "ladder", "ridge")}
    rows = set_table(runs)
    assert [row[0] for row in rows] == ["variant", "none", "ladder", "ridge"]
    assert rows[2][6].startswith("+0.0 %")  # the same model under another name
    assert rows[3][1] == ""
    assert as_markdown(rows).count("\n") == 4
    assert len(as_text(rows).splitlines()) == 4
    first, *_ = choice_lines({"world": runs})
    assert first.startswith("world: on validation, none is best")


def test_every_set_has_its_config_and_every_preset_is_offered() -> None:
    for chosen in SETS.values():
        assert (Path(__file__).parent.parent / chosen.config).is_file()
    presets = {"none", "last", "ladder", "lowlevel"}
    assert presets <= set(VARIANTS)


def test_the_demo_needs_no_data(tmp_path: Path) -> None:
    config = load_set("demo", None, tmp_path)
    assert config.training.max_epochs == SETS["demo"].num_epochs
    assert isinstance(config.model, ModelConfig)
    assert config.model.stream_dropout == 0
