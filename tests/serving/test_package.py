"""The model as MLflow keeps it: what is in the folder, what it takes, and what it answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.pyfunc import PyFuncModel, load_model
from mlflow.pyfunc.scoring_server import predictions_to_json

from mmts.forecasting import Forecaster
from mmts.serving.example import MOST_ROWS, make_example
from mmts.serving.package import list_requirements, save_package
from tests.factories import make_frames

Frames = dict[str, pd.DataFrame]


@pytest.fixture(scope="module")
def folder(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package") / "model"
    save_package(folder, trained, Forecaster.from_checkpoint(trained))
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> PyFuncModel:
    return load_model(str(folder))


@pytest.fixture(scope="module")
def frames() -> Frames:
    return make_frames()


def as_json(frames: Frames) -> dict[str, list[dict[str, Any]]]:
    """Return what a program would send: times as text, missing values as null."""
    return {name: json.loads(frame.to_json(orient="records", date_format="iso",
                                           double_precision=15))
            for name, frame in frames.items()}  # fmt: skip


def test_nothing_in_the_folder_is_pickled(folder: Path, trained: Path) -> None:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"MLmodel", "model_code.py", f"artifacts/{trained.name}"} <= files
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pt", ".joblib"))]
    flavor = Model.load(str(folder)).flavors["python_function"]
    assert flavor["model_code_path"] == "model_code.py"
    assert "python_model" not in flavor
    assert (folder / "artifacts" / trained.name).read_bytes() == trained.read_bytes()


def test_the_requirements_name_mmts_and_exact_public_versions(folder: Path) -> None:
    required = (folder / "requirements.txt").read_text().splitlines()
    names = [line.partition("==")[0] for line in required]
    assert {"mmts", "torch", "numpy", "pandas", "safetensors", "mlflow"} <= set(names)
    assert all("==" in line and "+" not in line for line in required)


def test_text_features_of_an_extra_are_required_with_it(forecaster: Forecaster) -> None:
    data = forecaster.info.config.data
    news = data.streams["news"].model_copy(
        update={"text": ("body",), "text_features": _text_features("wordllama")}
    )
    config = forecaster.info.config.model_copy(
        update={"data": data.model_copy(update={"streams": {**data.streams, "news": news}})}
    )
    info = forecaster.info.model_copy(update={"config": config})
    assert list_requirements(info)[0].startswith("mmts[wordllama]==")


def _text_features(kind: str) -> Any:
    from pydantic import TypeAdapter

    from mmts.data.text.config import TextConfig

    return TypeAdapter(TextConfig).validate_python({"kind": kind})


def test_the_signature_tells_streams_params_and_the_columns_of_a_forecast(folder: Path) -> None:
    signature = Model.load(str(folder)).signature
    (streams,) = signature.inputs.to_dict()
    assert streams["name"] == "streams"
    required = {name: kind["required"] for name, kind in streams["properties"].items()}
    assert required == {
        "load": True, "weather": False, "plan": False, "news": False, "site": False
    }  # fmt: skip
    assert [param.name for param in signature.params] == ["origin", "until", "calibrated"]
    assert signature.outputs.input_names() == [
        "item_id", "origin", "timestamp", "step", "target", "0.1", "0.5", "0.9"
    ]  # fmt: skip


def test_data_frames_give_the_forecast_of_the_checkpoint(
    model: PyFuncModel, forecaster: Forecaster, frames: Frames
) -> None:
    answer = model.predict({"streams": frames})
    pd.testing.assert_frame_equal(
        answer, forecaster.predict(frames, as_text=True), check_exact=True
    )


def test_json_gives_the_forecast_of_the_data_frames(
    model: PyFuncModel, forecaster: Forecaster, frames: Frames
) -> None:
    records = as_json(frames)
    columns = {name: {key: [row[key] for row in rows] for key in rows[0]}
               for name, rows in records.items()}  # fmt: skip
    expected = forecaster.predict(frames, as_text=True)
    for streams in (records, columns):
        answer = model.predict({"streams": streams})
        pd.testing.assert_frame_equal(answer, expected, check_exact=True)


def test_what_the_server_writes_reads_back_to_the_last_bit(
    model: PyFuncModel, frames: Frames, tmp_path: Path
) -> None:
    answer = model.predict({"streams": frames})
    with (tmp_path / "answer.json").open("w") as file:
        predictions_to_json(answer, file)
    read = pd.DataFrame(json.loads((tmp_path / "answer.json").read_text())["predictions"])
    pd.testing.assert_frame_equal(read, answer, check_exact=True, check_dtype=False)


def test_whole_numbers_are_numbers_too(model: PyFuncModel, frames: Frames) -> None:
    whole = {**frames, "load": frames["load"].assign(load=frames["load"]["load"].round())}
    records = as_json(whole)
    for row in records["load"]:
        row["load"] = None if row["load"] is None else int(row["load"])
    expected = model.predict({"streams": whole})
    pd.testing.assert_frame_equal(model.predict({"streams": records}), expected, check_exact=True)


def test_origin_and_until_are_those_of_a_forecast(
    model: PyFuncModel, forecaster: Forecaster, frames: Frames
) -> None:
    origin, until = "2024-01-12T06:00", "2024-01-12T09:00"
    answer = model.predict({"streams": frames}, {"origin": origin, "until": until})
    assert answer["origin"].nunique() == 4
    expected = forecaster.predict(frames, origin, until, as_text=True)
    pd.testing.assert_frame_equal(answer, expected, check_exact=True)


def test_a_stream_may_be_left_out(
    model: PyFuncModel, forecaster: Forecaster, frames: Frames
) -> None:
    fewer = {name: frame for name, frame in frames.items() if name != "weather"}
    expected = forecaster.predict(fewer, as_text=True)
    for streams in (fewer, {**fewer, "weather": None}):
        answer = model.predict({"streams": streams})
        pd.testing.assert_frame_equal(answer, expected, check_exact=True)
    assert not expected.equals(forecaster.predict(frames, as_text=True))


def test_one_call_forecasts_many_items(model: PyFuncModel, forecaster: Forecaster) -> None:
    items = tuple(f"site{number:03d}" for number in range(300))
    frames = make_frames(items, days=3)
    answer = model.predict({"streams": frames})
    assert len(answer) == len(items) * 6
    assert set(answer["item_id"]) == set(items)
    for item in (items[0], items[157], items[-1]):
        alone = {
            name: frame[frame["item"] == item] if "item" in frame else frame
            for name, frame in frames.items()
        }
        expected = forecaster.predict(alone, as_text=True).set_index("step")[["0.1", "0.5", "0.9"]]
        found = answer[answer["item_id"] == item].set_index("step")[["0.1", "0.5", "0.9"]]
        # In another batch sums are rounded in another order.
        pd.testing.assert_frame_equal(found, expected, rtol=1e-4, atol=1e-4)


def test_the_example_is_small_and_forecasts(model: PyFuncModel, forecaster: Forecaster) -> None:
    example = make_example(forecaster.info)
    assert example is not None
    assert json.loads(json.dumps(example, allow_nan=False)) == example
    assert set(example) == set(forecaster.info.config.data.streams)
    assert all(0 < len(rows) <= MOST_ROWS for rows in example.values())
    answer = model.predict({"streams": example})
    assert set(answer["item_id"]) == {"south"}
    kept = model.input_example
    assert kept == {"streams": example}


def test_without_the_files_of_training_there_is_no_example(
    forecaster: Forecaster, caplog: pytest.LogCaptureFixture
) -> None:
    config = forecaster.info.config
    moved = config.model_copy(update={"data": config.data.model_copy(update={"root": "/nowhere"})})
    assert make_example(forecaster.info.model_copy(update={"config": moved})) is None
    assert "without an example of a request" in caplog.text
    assert "no such file" in caplog.text


@pytest.mark.parametrize(
    ("streams", "said"),
    [
        ({"weather": []}, "load"),
        ({"load": "world/load.csv"}, "DataError: stream 'load': is text, not a table"),
        (
            {"load": [{"time": "2024-01-01T00:00", "item": "north"}]},
            "data frame of stream 'load': columns",
        ),
        ({"load": [], "wether": []}, "wether"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(
    model: PyFuncModel, streams: dict[str, Any], said: str
) -> None:
    with pytest.raises(MlflowException) as caught:
        model.predict({"streams": streams})
    assert said in str(caught.value)
    assert caught.value.get_http_status_code() == 400


def test_a_wrong_origin_says_what_is_wrong(model: PyFuncModel, frames: Frames) -> None:
    with pytest.raises(MlflowException, match="DataError: origin 'tomorrow' is no time"):
        model.predict({"streams": frames}, {"origin": "tomorrow"})
