"""The checkpoint: one file that is safe to open, whoever made it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from mmts.checkpoint import FORMAT_VERSION, build_model, load_checkpoint, save_checkpoint
from mmts.checkpoint_file import write_checkpoint_file
from mmts.config import ExperimentConfig, load_config
from mmts.errors import CheckpointError
from mmts.experiment import train
from mmts.forecasting import Forecaster
from tests.conftest import Command
from tests.factories import add_words, make_frames, make_settings, write_world

FORMATS = Path(__file__).parent / "checkpoints"


def metadata_of(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    found: dict[str, Any] = json.loads(header["__metadata__"]["mmts"])
    return found


def rewrite(path: Path, target: Path, **changes: Any) -> Path:
    """Copy a checkpoint with other metadata."""
    write_checkpoint_file(target, {**metadata_of(path), **changes}, load_file(path))
    return target


def test_a_checkpoint_reads_back_with_the_same_weights(trained: Path, tmp_path: Path) -> None:
    info, model = load_checkpoint(trained)
    copy = tmp_path / "copy.mmts"
    save_checkpoint(copy, info, model.state_dict())
    again, same = load_checkpoint(copy)
    assert again == info
    assert all(
        torch.equal(weight, same.state_dict()[name]) for name, weight in model.state_dict().items()
    )


def test_a_new_process_forecasts_the_same_as_this_one(
    mmts: Command, trained: Path, tmp_path: Path
) -> None:
    output = tmp_path / "forecast.csv"
    done = mmts("forecast", trained, "--output", output)
    assert done.returncode == 0, done.stderr
    forecaster = Forecaster.from_checkpoint(trained)
    here = forecaster.predict(forecaster.default_sources())
    assert here.to_csv(index=False) == output.read_text()


def test_a_checkpoint_holds_no_pickle(trained: Path) -> None:
    content = trained.read_bytes()
    assert content[8:9] == b"{"
    assert b"ctorch" not in content
    assert b"PK\x03\x04" not in content


def test_a_forecast_needs_no_training_file(trained: Path, tmp_path: Path) -> None:
    moved = tmp_path / "alone.mmts"
    root = str(tmp_path / "nowhere")
    config = metadata_of(trained)["config"]
    rewrite(trained, moved, config={**config, "data": {**config["data"], "root": root}})
    forecast = Forecaster.from_checkpoint(moved).predict(make_frames())
    assert len(forecast) == 12


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION + 1))
def test_every_format_loads_for_ever(version: int) -> None:
    path = FORMATS / f"format_{version}.mmts"
    assert metadata_of(path)["format_version"] == version
    frames = make_frames()
    if version > 1:
        add_words(frames, make_settings())
    forecast = Forecaster.from_checkpoint(path).predict(frames)
    expected = json.loads(path.with_suffix(".json").read_text())
    # Before version 7 only the median was written down.
    levels = expected if isinstance(expected, dict) else {"0.5": expected}
    for level, values in levels.items():
        torch.testing.assert_close(
            torch.tensor(forecast[level].to_list()), torch.tensor(values), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("version", range(5, 10))
def test_before_format_10_the_whole_network_counted(version: int) -> None:
    info, model = load_checkpoint(FORMATS / f"format_{version}.mmts")
    assert model.linear is not None
    assert model.network_share.chosen.tolist() == [1, 1]
    assert not info.config.training.shrinkage
    linear = info.config.model.linear
    assert linear is not None
    assert (linear.calendar, linear.loss, linear.contexts) == ("all", "huber", "whole")


def test_rows_on_no_clock_that_once_stood_at_wrong_times_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = make_settings()
    settings["data"]["streams"]["weather"]["stamp"] = "event"
    settings["model"]["encoders"]["weather"] = {"kind": "patch", "dim": 8, "patch_length": 2}
    trained = train(load_config(write_world(tmp_path / "world", settings)), tmp_path / "run")
    load_checkpoint(trained.checkpoint)
    assert "stood at wrong times" not in caplog.text
    older = rewrite(trained.checkpoint, tmp_path / "older.mmts", format_version=11)
    load_checkpoint(older)
    (said,) = [record.message for record in caplog.records if "wrong times" in record.message]
    assert said.startswith(f"{older}: when it was trained, rows of stream weather stood")


@pytest.mark.parametrize("shares", [[-0.5, 1.0], [0.5, 3.0]])
def test_shares_beyond_the_way_are_refused(
    trained: Path, tmp_path: Path, shares: list[float]
) -> None:
    # Quantiles might cross.
    weights = load_file(trained) | {"network_share.chosen": torch.tensor(shares)}
    write_checkpoint_file(tmp_path / "forged.mmts", metadata_of(trained), weights)
    with pytest.raises(CheckpointError, match="no shares of a way"):
        load_checkpoint(tmp_path / "forged.mmts")


def test_in_format_10_one_share_counted_for_middle_and_spread(tmp_path: Path) -> None:
    path = FORMATS / "format_10.mmts"
    weights = load_file(path) | {"network_share.chosen": torch.tensor(0.25)}
    write_checkpoint_file(tmp_path / "quarter.mmts", metadata_of(path), weights)
    info, model = load_checkpoint(tmp_path / "quarter.mmts")
    assert model.network_share.chosen.tolist() == [0.25, 0.25]
    linear = info.config.model.linear
    assert linear is not None
    assert linear.contexts == "whole"


@pytest.mark.parametrize("version", range(1, 8))
def test_every_step_of_an_older_format_has_a_query_of_its_own(version: int) -> None:
    info, _ = load_checkpoint(FORMATS / f"format_{version}.mmts")
    assert info.config.model.head.max_queries == info.data_schema.horizon


def test_what_a_token_said_of_its_sources_weighs_as_before_format_6(
    trained: Path, tmp_path: Path
) -> None:
    info, _ = load_checkpoint(trained)
    settings = info.config.to_json()
    for edge in settings["model"]["interactions"]:
        if edge["kind"] == "weighted":
            edge["weights"] = "token"
    config = ExperimentConfig.model_validate(settings)
    info = info.model_copy(update={"config": config})
    model = build_model(config, info.data_schema, info.scaling)
    for parameter in model.interactions.parameters():
        torch.nn.init.normal_(parameter)
    save_checkpoint(tmp_path / "new.mmts", info, model.state_dict())
    weights = load_file(tmp_path / "new.mmts")
    (gate,) = (name for name in weights if name.endswith("gate.weight"))
    weights[gate] /= weights[gate].shape[1] ** 0.5
    older = {**metadata_of(tmp_path / "new.mmts"), "format_version": 5}
    save_file(weights, tmp_path / "old.mmts", {"mmts": json.dumps(older)})
    new, old = (
        Forecaster.from_checkpoint(tmp_path / f"{age}.mmts").predict(make_frames())
        for age in ("new", "old")
    )
    pd.testing.assert_frame_equal(new, old, rtol=1e-5)


def test_what_is_no_checkpoint_is_refused(trained: Path, tmp_path: Path) -> None:
    content = trained.read_bytes()
    weights = load_file(trained)
    faulty = {
        "empty": b"",
        "text": b"time,load\n2024-01-01,1\n",
        "pickle": b"\x80\x04K\x01.",
        "short": content[:1000],
        "truncated": content[:-100],
        "huge header": struct.pack("<Q", 2**62) + content[8:],
    }
    for name, data in faulty.items():
        path = tmp_path / f"{name}.mmts"
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="not a checkpoint of mmts"):
            load_checkpoint(path)
    plain = tmp_path / "plain.mmts"
    save_file(weights, plain)
    with pytest.raises(CheckpointError, match="no checkpoint of mmts"):
        load_checkpoint(plain)
    with pytest.raises(CheckpointError, match="no such file"):
        load_checkpoint(tmp_path / "nothing.mmts")


def test_another_format_version_is_named(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="format version 99"):
        load_checkpoint(rewrite(trained, tmp_path / "new.mmts", format_version=99))


def test_damaged_descriptions_are_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the description of the model is damaged"):
        load_checkpoint(rewrite(trained, tmp_path / "a.mmts", scaling=3))
    metadata = metadata_of(trained)
    scaling = {**metadata["scaling"]}
    del scaling["weather"]
    with pytest.raises(CheckpointError, match="name different streams"):
        load_checkpoint(rewrite(trained, tmp_path / "c.mmts", scaling=scaling))
    for key, value in {"horizon": -1, "no such key": 0, "target_stream": "moon"}.items():
        schema = {**metadata["data_schema"], key: value}
        with pytest.raises(CheckpointError, match="the description of the model is damaged"):
            load_checkpoint(rewrite(trained, tmp_path / f"{key}.mmts", data_schema=schema))
    config = metadata["config"]
    model = {**config["model"], "interactions": [{"kind": "residual", "from": "x.0", "to": "y.1"}]}
    with pytest.raises(CheckpointError, match="the model cannot be built"):
        load_checkpoint(rewrite(trained, tmp_path / "b.mmts", config={**config, "model": model}))


@pytest.mark.parametrize("fault", ["missing", "unknown", "shape", "type", "nan"])
def test_weights_that_do_not_fit_are_refused(trained: Path, tmp_path: Path, fault: str) -> None:
    weights = load_file(trained)
    name = "head.project.weight"
    match fault:
        case "missing":
            del weights[name]
        case "unknown":
            weights["extra"] = torch.zeros(1)
        case "shape":
            weights[name] = torch.zeros(2, 2)
        case "type":
            weights[name] = weights[name].long()
        case "nan":
            weights[name][0, 0] = torch.nan
    path = tmp_path / "faulty.mmts"
    write_checkpoint_file(path, metadata_of(trained), weights)
    with pytest.raises(CheckpointError, match=r"weights? "):
        load_checkpoint(path)


def test_a_failed_write_leaves_the_old_file(trained: Path, tmp_path: Path) -> None:
    from mmts.errors import OutputError
    from mmts.files import write_whole

    target = tmp_path / "folder"
    target.mkdir()
    (target / "kept").write_text("old")
    with pytest.raises(OutputError, match="is a folder"):
        write_whole(target, b"new")
    assert (target / "kept").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    ("stream", "changes"),
    [
        ("load", {"clock": None}),
        ("load", {"clock": {"every": 10**30}}),
        ("calendar", {"calendar": {"features": ["holiday"], "holidays": None}}),
        ("calendar", {"calendar": {"features": ["month"]}}),
        ("calendar", {"calendar": {"features": ["hour"], "holidays": "../x"}}),
        (
            "weather",
            {"columns": [{"name": "temperature", "role": "past", "type": "number", "width": 9}]},
        ),
        (
            "plan",
            {
                "columns": [
                    {"name": "shift", "role": "future", "type": "category", "buckets": 10**10}
                ]
            },
        ),
    ],
)
def test_a_schema_that_no_training_writes_is_refused(
    tmp_path: Path, stream: str, changes: dict[str, Any]
) -> None:
    source = FORMATS / f"format_{FORMAT_VERSION}.mmts"
    schema = metadata_of(source)["data_schema"]
    schema["streams"][stream] |= changes
    with pytest.raises(CheckpointError, match="the description of the model is damaged"):
        load_checkpoint(rewrite(source, tmp_path / "a.mmts", data_schema=schema))
