"""The first promise: a forecast moves by no bit when what was not yet known is overwritten.

And the second: it sees all that was.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
import torch

from mmts.checkpoint import CheckpointInfo, build_model, save_checkpoint
from mmts.config import load_config
from mmts.data import dataset
from mmts.forecasting import Forecaster
from tests.conftest import Command
from tests.data.worlds import WORLDS, World, hourly_world
from tests.factories import START, make_frames, write_config, write_frames

ORIGIN = START + pd.Timedelta(days=12, hours=7)
HORIZON = pd.Timedelta(hours=6)
HOUR = pd.Timedelta(hours=1)

Frames = dict[str, pd.DataFrame]

UNKNOWN: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    # A row is known once its period and its delay are over.
    "load": lambda rows: rows["time"] + 1 * HOUR > ORIGIN,
    "weather": lambda rows: rows["time"] + 3 * HOUR + 2 * HOUR > ORIGIN,
    "news": lambda rows: rows["time"] + 24 * HOUR > ORIGIN,
    # Known for ever ahead, but read no further than the horizon.
    "plan": lambda rows: rows["time"] >= ORIGIN + HORIZON,
}


def overwrite(frames: Frames, name: str, rows: pd.Series) -> Frames:
    """Fill some rows of one stream with noise."""
    random = np.random.default_rng(1)
    noisy = frames[name].copy()
    for column in noisy.columns.difference(["time", "item"]):
        if pd.api.types.is_numeric_dtype(noisy[column]):
            noisy.loc[rows, column] = random.normal(1e3, 1e3, int(rows.sum()))
        else:
            noisy.loc[rows, column] = "noise"
    return {**frames, name: noisy}


def overwrite_unknown(frames: Frames) -> Frames:
    """Fill everything that is not available at the origin with noise."""
    for name, unknown in UNKNOWN.items():
        frames = overwrite(frames, name, unknown(frames[name]))
    return frames


def test_forecast_by_the_real_command_ignores_all_that_is_not_yet_known(
    mmts: Command, trained: Path, tmp_path: Path
) -> None:
    write_frames(tmp_path / "noisy", overwrite_unknown(make_frames()))
    data = [f"--data={n}={tmp_path / 'noisy' / n}.csv" for n in (*UNKNOWN, "site")]
    forecasts = []
    for name, options in {"true": [], "noisy": data}.items():
        output = tmp_path / f"{name}.csv"
        done = mmts("forecast", trained, "--origin", ORIGIN, "--output", output, *options)
        assert done.returncode == 0, done.stderr
        forecasts.append(output.read_bytes())
    assert forecasts[0] == forecasts[1]


@pytest.mark.parametrize("name", UNKNOWN)
def test_no_stream_lets_an_unknown_row_through(forecaster: Forecaster, name: str) -> None:
    frames = make_frames()
    noisy = overwrite(frames, name, UNKNOWN[name](frames[name]))
    pd.testing.assert_frame_equal(
        forecaster.predict(frames, ORIGIN), forecaster.predict(noisy, ORIGIN), check_exact=True
    )


@pytest.mark.parametrize("name", UNKNOWN)
def test_every_stream_is_read_up_to_what_is_known(forecaster: Forecaster, name: str) -> None:
    frames = make_frames()
    times = frames[name]["time"]
    known = ~UNKNOWN[name](frames[name])
    last = known & (times == times[known].max())
    noisy = overwrite(frames, name, last)
    assert not forecaster.predict(frames, ORIGIN).equals(forecaster.predict(noisy, ORIGIN))


# Not news: its tokens meet no layer of their own, and alignment keeps late ones out once more.
@pytest.mark.parametrize("name", ["load", "weather"])
def test_a_planted_leak_is_found(trained: Path, name: str) -> None:
    leaky = Forecaster.from_checkpoint(trained)
    schema = leaky.info.data_schema
    stream = schema.streams[name].model_copy(
        update={"delay": -schema.streams[name].clock.every * 2}
    )
    streams = {**schema.streams, name: stream}
    leaky.info = leaky.info.model_copy(
        update={"data_schema": schema.model_copy(update={"streams": streams})}
    )
    frames = make_frames()
    noisy = overwrite(frames, name, UNKNOWN[name](frames[name]))
    assert not leaky.predict(frames, ORIGIN).equals(leaky.predict(noisy, ORIGIN))


def test_a_future_value_counts_only_from_when_it_was_known_ahead(trained: Path) -> None:
    forecaster = Forecaster.from_checkpoint(trained)
    schema = forecaster.info.data_schema
    three_hours = 3 * 3_600_000_000
    plan = schema.streams["plan"].model_copy(update={"known_ahead": three_hours})
    forecaster.info = forecaster.info.model_copy(
        update={
            "data_schema": schema.model_copy(update={"streams": {**schema.streams, "plan": plan}})
        }
    )
    frames = make_frames()
    times = frames["plan"]["time"]
    base = forecaster.predict(frames, ORIGIN)
    unknown = overwrite(frames, "plan", times > ORIGIN + 3 * HOUR)
    known = overwrite(frames, "plan", times == ORIGIN + 3 * HOUR)
    assert base.equals(forecaster.predict(unknown, ORIGIN))
    assert not base.equals(forecaster.predict(known, ORIGIN))


def test_training_statistics_ignore_what_comes_after_the_train_cut(world: Path) -> None:
    from mmts.config import load_config
    from mmts.data.dataset import load_dataset

    config = load_config(world)
    before = load_dataset(config.data)
    cut = pd.Timestamp(before.split.validation, unit="us")
    frames = make_frames()
    for name in ("load", "weather", "plan", "news"):
        frames = overwrite(frames, name, frames[name]["time"] >= cut)
    write_frames(world.parent, frames)
    assert load_dataset(config.data).scaling == before.scaling


@lru_cache
def world_of(name: str) -> World:
    return WORLDS[name]()


@lru_cache
def forecaster_of(name: str) -> Forecaster:
    """Build a model of one world that nobody trained, with no weight at zero."""
    world = world_of(name)
    with TemporaryDirectory() as folder:
        write_frames(Path(folder), world.frames)
        config = load_config(write_config(Path(folder), world.settings))
        data = dataset.load_dataset(config.data)
    model = build_model(config, data.schema, data.scaling)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=generator)
    info = CheckpointInfo(
        config=config,
        data_schema=data.schema,
        scaling=data.scaling,
        split=data.split,
        fingerprint={},
        versions={},
        epoch=1,
        validation_loss=0.0,
    )
    return Forecaster(info, model)


@lru_cache
def forecast_of(name: str) -> pd.DataFrame:
    world = world_of(name)
    return forecaster_of(name).predict(world.frames, world.origin)


CASES = [(world, name) for world in WORLDS for name in world_of(world).rules]


@pytest.mark.parametrize(("world", "name"), CASES)
def test_what_is_not_known_of_any_stream_moves_nothing(world: str, name: str) -> None:
    noisy = world_of(world).overwrite_unknown(name)
    found = forecaster_of(world).predict(noisy, world_of(world).origin)
    pd.testing.assert_frame_equal(found, forecast_of(world), check_exact=True)


@pytest.mark.parametrize(("world", "name"), CASES)
def test_files_as_they_were_at_the_origin_give_the_same_forecast(world: str, name: str) -> None:
    then = world_of(world).as_of_origin(name)
    found = forecaster_of(world).predict(then, world_of(world).origin)
    pd.testing.assert_frame_equal(found, forecast_of(world), check_exact=True)


@pytest.mark.parametrize(("world", "name"), CASES)
def test_the_latest_that_is_known_of_any_stream_moves_the_forecast(world: str, name: str) -> None:
    for column in world_of(world).values(name):
        noisy = world_of(world).overwrite_latest(name, column)
        found = forecaster_of(world).predict(noisy, world_of(world).origin)
        assert not found.equals(forecast_of(world)), column


@pytest.mark.parametrize(("world", "name"), [case for case in CASES if case[1] != "site"])
def test_a_leak_planted_in_any_stream_is_found(world: str, name: str) -> None:
    honest = forecaster_of(world)
    schema = honest.info.data_schema
    stream = schema.streams[name]
    early = 4 * stream.clock.period if stream.clock else 30 * schema.frequency
    changes: dict[str, object] = {"delay": stream.delay - early}
    if stream.known_ahead is not None:
        changes = {"known_ahead": stream.known_ahead + early}
    streams = {**schema.streams, name: stream.model_copy(update=changes)}
    leaky = Forecaster(
        honest.info.model_copy(
            update={"data_schema": schema.model_copy(update={"streams": streams})}
        ),
        honest.model,
    )
    origin = world_of(world).origin
    plain = leaky.predict(world_of(world).frames, origin)
    assert not plain.equals(leaky.predict(world_of(world).overwrite_unknown(name), origin))


@pytest.mark.parametrize("name", ["hourly", "daily"])
def test_files_read_by_the_real_command_let_nothing_unknown_through(
    mmts: Command, tmp_path: Path, name: str
) -> None:
    world, forecaster = world_of(name), forecaster_of(name)
    noisy = {stream: world.overwrite_unknown(stream)[stream] for stream in world.rules}
    save_checkpoint(tmp_path / "model.mmts", forecaster.info, forecaster.model.state_dict())
    forecasts = []
    for kind, frames in {"true": world.frames, "noisy": noisy}.items():
        write_frames(tmp_path / kind, frames)
        data = [f"--data={stream}={tmp_path / kind / stream}.csv" for stream in frames]
        output = tmp_path / f"{kind}-forecast.csv"
        done = mmts(
            "forecast", tmp_path / "model.mmts", "--origin", world.origin.isoformat(),
            "--output", output, *data,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        forecasts.append(output.read_bytes())
    assert forecasts[0] == forecasts[1]


@pytest.mark.parametrize("world", WORLDS)
def test_what_is_learned_from_training_data_is_what_was_known_at_the_cut(
    tmp_path: Path, world: str
) -> None:
    cut = world_of(world)
    frames = {name: cut.overwrite_unknown(name)[name] for name in cut.rules}
    # The train split ends at the origin, of which the rules speak.
    last = cut.frames[next(iter(cut.rules))].dropna()["time"].max()
    settings = copy.deepcopy(cut.settings)
    settings["data"]["split"] = {
        "validation": cut.origin.isoformat(),
        "test": (cut.origin + (last - cut.origin) / 2).isoformat(),
        "end": last.isoformat(),
    }
    found = []
    for folder, held in ((tmp_path / "true", cut.frames), (tmp_path / "noisy", frames)):
        write_frames(folder, held)
        found.append(dataset.load_dataset(load_config(write_config(folder, settings)).data))
    true, noisy = found
    assert true.split == noisy.split
    assert true.schema == noisy.schema
    for name, scaling in true.scaling.items():
        assert noisy.scaling[name].model_dump() == scaling.model_dump()
        for array, values in scaling.arrays.items():
            np.testing.assert_array_equal(noisy.scaling[name].arrays[array], values)


@pytest.mark.parametrize("world", ["late target", "planned target"])
def test_models_are_trained_and_chosen_on_values_that_were_known_at_the_next_cut(
    tmp_path: Path, world: str
) -> None:
    chosen = world_of(world)
    write_frames(tmp_path, chosen.frames)
    data = dataset.load_dataset(load_config(write_config(tmp_path, chosen.settings)).data)
    rows = chosen.frames["load"].dropna(subset="load")
    moments = rows["time"].to_numpy(dtype="datetime64[us]").astype(np.int64)
    known = chosen.rules["load"].past(rows).to_numpy(dtype="datetime64[us]").astype(np.int64)
    hour = 3_600_000_000
    for split in ("train", "validation", "test"):
        begin, end = data.split.bounds(split)
        expected = set()
        for place, item in enumerate(data.items):
            own = (rows["item"] == item).to_numpy()
            times, told = moments[own], known[own]
            for origin in range(max(begin, times[0] + 24 * hour), end - 5 * hour, hour):
                ahead = slice(*np.searchsorted(times, [origin, origin + 6 * hour]))
                in_time = split == "test" or (told[ahead] <= end).all()
                if in_time and len(times[ahead]):
                    expected.add((place, origin))
        windows = data.windows(split).windows
        found = set(zip(windows.items.tolist(), windows.origins.tolist(), strict=True))
        assert found == expected
        assert len(found) > 10


@pytest.mark.parametrize(("name", "span"), [("alarms", 12), ("notes", 72), ("surveys", 30)])
def test_every_event_of_the_context_has_a_place_in_training(
    tmp_path: Path, name: str, span: int
) -> None:
    chosen = hourly_world()
    settings = copy.deepcopy(chosen.settings)
    settings["data"]["streams"][name]["context_length"] = f"{span}h"
    # Some stand exactly at both ends of a context.
    rows = chosen.frames[name]
    times = rows["time"].where(np.arange(len(rows)) % 3 > 0, rows["time"].dt.floor("h"))
    keys = rows.columns.intersection(["time", "item"])
    rows = rows.assign(time=times).drop_duplicates(list(keys))
    chosen.frames[name] = rows
    write_frames(tmp_path, chosen.frames)
    data = dataset.load_dataset(load_config(write_config(tmp_path, settings)).data)
    windows = data.windows("train")
    batch = windows.gather(torch.arange(len(windows)))
    counted = batch.streams[name].observed[..., 0].sum(dim=1).tolist()
    known = chosen.rules[name].past(rows)
    for n in range(0, len(windows), 3):
        origin = pd.Timestamp(int(windows.windows.origins[n]), unit="us")
        here = (known <= origin) & (rows["time"] >= origin - span * HOUR)
        if "item" in rows:
            here &= rows["item"] == data.items[int(windows.windows.items[n])]
        assert counted[n] == here.sum()
    assert max(counted) > 3


def test_a_late_target_is_forecast_from_where_it_is_known(tmp_path: Path) -> None:
    world = world_of("late target")
    rows = world.frames["load"]
    streams = {"load": rows, "plan": world.frames["plan"]}
    found = forecaster_of("late target").predict(streams, as_text=True)
    for item, own in rows.groupby("item"):
        last = own["published"].iloc[-1].ceil("h")
        assert set(found[found["item_id"] == item]["origin"]) == {str(last)}


def test_what_is_published_ahead_moves_no_origin_into_the_past(tmp_path: Path) -> None:
    world = world_of("planned target")
    found = forecaster_of("planned target").predict(world.frames, as_text=True)
    last = world.frames["load"].dropna()["time"].max()
    # The period and the delay of 90 minutes, on the grid.
    assert set(found["origin"]) == {str(last + 3 * HOUR)}


def test_a_text_of_which_every_value_is_missing_is_as_good_as_none(tmp_path: Path) -> None:
    world = hourly_world()
    world.frames["notes"]["body"] = None
    write_frames(tmp_path, world.frames)
    data = dataset.load_dataset(load_config(write_config(tmp_path, world.settings)).data)
    assert data.scaling["notes"].texts["body"].width == 0
    assert not data.windows("train").gather(torch.arange(9)).streams["notes"].observed.any()
    plain = forecaster_of("hourly")
    without = {name: rows for name, rows in world.frames.items() if name != "notes"}
    assert plain.predict(world.frames, world.origin).equals(plain.predict(without, world.origin))
