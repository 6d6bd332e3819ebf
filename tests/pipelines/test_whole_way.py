"""The whole way by the real commands, each in a new process."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT, Command
from tests.factories import make_frames, make_settings, write_config, write_frames, write_world


@pytest.fixture(scope="module")
def workplace(mmts: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with data in `world` and a tracked training in `runs/one`."""
    folder = tmp_path_factory.mktemp("workplace")
    config = write_world(folder / "world", make_settings() | {"tracking": {}})
    done = mmts("train", config, "--run-dir", "runs/one", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "checkpoint: runs/one/best.mmts" in done.stdout
    for command in ("evaluate", "explain", "forecast"):
        assert f"mmts {command} runs/one/best.mmts" in done.stdout
    assert "epoch 1/1" in done.stderr
    return folder


def test_training_leaves_checkpoints_config_and_history(workplace: Path) -> None:
    left = {path.name for path in (workplace / "runs/one").iterdir()}
    assert {"best.mmts", "last.mmts", "config.yaml", "history.jsonl"} <= left
    lines = (workplace / "runs/one/history.jsonl").read_text().splitlines()
    start, epoch = map(json.loads, lines)
    assert set(start) == {"epoch", "val/loss"}
    assert {"epoch", "train/loss", "val/loss"} <= set(epoch)


@pytest.mark.slow
def test_the_resolved_config_trains_to_the_same_weights(mmts: Command, workplace: Path) -> None:
    resolved = workplace / "runs/one/config.yaml"
    done = mmts("train", resolved, "--run-dir", "runs/again", cwd=workplace)
    assert done.returncode == 0, done.stderr
    from safetensors.torch import load_file

    one, again = (load_file(workplace / f"runs/{run}/best.mmts") for run in ("one", "again"))
    assert set(one) == set(again)
    assert all(weight.equal(again[name]) for name, weight in one.items())


def test_forecast_writes_csv_and_picture(mmts: Command, workplace: Path) -> None:
    done = mmts(
        "forecast", "runs/one/best.mmts", "--output", "f.csv", "--plot", "f.png", cwd=workplace
    )
    assert done.returncode == 0, done.stderr
    forecast = pd.read_csv(workplace / "f.csv")
    assert len(forecast) == 2 * 6
    assert forecast[["0.1", "0.5", "0.9"]].notna().all(axis=None)
    assert (workplace / "f.png").read_bytes().startswith(b"\x89PNG")


def test_forecast_of_other_files_without_one_stream(mmts: Command, workplace: Path) -> None:
    frames = make_frames(("west",))
    write_frames(workplace / "new", {name: frames[name] for name in ("load", "plan", "site")})
    data = [f"--data={name}=new/{name}.csv" for name in ("load", "plan", "site")]
    done = mmts(
        "forecast", "runs/one/best.mmts", "--output", "w.csv", *data, "--data=weather=",
        cwd=workplace,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "w.csv: 1 item, " in done.stdout
    assert "stream 'weather' is left out" in done.stderr
    assert set(pd.read_csv(workplace / "w.csv")["item_id"]) == {"west"}


def test_evaluate_sets_the_model_beside_all_baselines(mmts: Command, workplace: Path) -> None:
    done = mmts("evaluate", "runs/one/best.mmts", cwd=workplace)
    assert done.returncode == 0, done.stderr
    for method in ("model", "last value", "seasonal naive", "ridge"):
        assert method in done.stdout
    folder = workplace / "runs/one/evaluation"
    assert json.loads((folder / "evaluation.json").read_text())
    assert (folder / "error_by_step.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate_tells_what_streams_are_worth(mmts: Command, workplace: Path) -> None:
    frames = make_frames()
    del frames["weather"]
    write_frames(workplace / "fewer", frames)
    done = mmts(
        "evaluate", "runs/one/best.mmts", "--without", "weather", "--without", "site",
        "--shuffle", "news", "--subsets", "--data-root", workplace / "fewer", cwd=workplace,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "without streams weather, site, with stream news shuffled, the model's" in done.stdout
    assert "change in MAE against 'without weather, site; news shuffled'" in done.stdout
    place = "evaluation/without/weather-site/shuffled/news"
    folder = workplace / "runs/one" / place
    table = pd.read_csv(folder / "subsets.csv")
    assert "only load" in set(table["subset"])
    assert (folder / "subsets.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads((folder / "evaluation.json").read_text())
    assert [row["subset"] for row in found["subsets"]] == table["subset"].tolist()

    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{workplace / 'runs/mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'small-world'")
    runs = client.search_runs([experiment.experiment_id])
    run = next(run for run in runs if run.info.run_name == "one")
    metrics = run.data.metrics
    assert (
        metrics["test/without/weather-site/shuffled/news/mae"]
        == found["subsets"][0]["scores"]["load"]["mae"]
    )
    assert "test/without/weather-plan-news-site/mae" in metrics
    assert "test/without/weather-plan-news-site/mae_change/percent" in metrics
    assert run.data.tags["test.without.weather-site.shuffled.news.verdict"] == found["verdict"]
    artifacts = {file.path for file in client.list_artifacts(run.info.run_id, place)}
    assert f"{place}/subsets.csv" in artifacts


def test_explain_tells_what_edges_and_streams_do(mmts: Command, workplace: Path) -> None:
    done = mmts("explain", "runs/one/best.mmts", "--metric", "rmse", cwd=workplace)
    assert done.returncode == 0, done.stderr
    assert "pass 1 of 14: the whole model on" in done.stderr
    assert "attention: weather.1 -> load.2" in done.stdout
    assert "plan shuffled" in done.stdout
    assert "3 standard errors to either side" in done.stdout
    folder = workplace / "runs/one/explanation"
    assert (folder / "graph.svg").read_bytes().startswith(b"<?xml")
    for name in ("graph.png", "edges.png", "streams.png", "lags.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    found = json.loads((folder / "explanation.json").read_text())
    assert [edge["name"] for edge in found["edges"]] == pd.read_csv(folder / "edges.csv")[
        "edge"
    ].tolist()

    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{workplace / 'runs/mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'small-world'")
    runs = client.search_runs([experiment.experiment_id])
    run = next(run for run in runs if run.info.run_name == "one")
    edge = found["edges"][0]
    strength = run.data.metrics[f"explain/edge/{edge['name']}/strength"]
    assert strength == edge["strength"]["overall"]
    assert "explain/stream/plan/shuffled/percent" in run.data.metrics
    artifacts = {file.path for file in client.list_artifacts(run.info.run_id, "explanation")}
    assert {"explanation/explanation.json", "explanation/graph.svg"} <= artifacts


def test_the_run_can_be_read_back_from_mlflow(mmts: Command, workplace: Path) -> None:
    test_evaluate_sets_the_model_beside_all_baselines(mmts, workplace)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{workplace / 'runs/mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'small-world'")
    runs = client.search_runs([experiment.experiment_id])
    run = next(run for run in runs if run.info.run_name == "one")
    assert run.info.status == "FINISHED"
    assert run.data.params["encoder.load"] == "patch"
    assert {"train/loss", "val/loss", "test/mae"} <= set(run.data.metrics)
    assert "test/baseline/ridge/mae" in run.data.metrics
    steps = client.get_metric_history(run.info.run_id, "test/by_step/mae")
    assert {point.step for point in steps} == {1, 2, 3, 4, 5, 6}
    found = json.loads((workplace / "runs/one/evaluation/evaluation.json").read_text())
    note = run.data.tags["mlflow.note.content"]
    assert note.startswith("Forecasts **load**")
    assert f"## Verdict\n\n{found['verdict']}" in note
    assert "Not known yet" not in note
    assert run.data.tags["target"] == "load"
    assert run.data.tags["command"].endswith("config.yaml --run-dir runs/one")
    assert {data.dataset.name for data in run.inputs.dataset_inputs} == {
        "load", "weather", "plan", "news", "site"
    }  # fmt: skip
    artifacts = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"best.mmts", "config.yaml", "environment.json", "report.html"} <= artifacts
    pictures = {file.path for file in client.list_artifacts(run.info.run_id, "pictures")}
    assert pictures == {"pictures/learning.png", "pictures/data.png", "pictures/graph.png"}
    profile = json.loads(run.inputs.dataset_inputs[0].dataset.profile)
    assert {"rows", "train", "validation", "test", "sha256"} <= set(profile)


def test_check_tells_what_would_be_trained(mmts: Command, workplace: Path) -> None:
    frames = make_frames()
    frames["weather"] = frames["weather"][frames["weather"]["item"] == "north"]
    write_frames(workplace / "uneven", frames)
    settings = make_settings()
    settings["model"]["interactions"] = settings["model"]["interactions"][:2]
    done = mmts("check", write_config(workplace / "uneven", settings))
    assert done.returncode == 0, done.stderr
    for words in (
        "load of 2 items, 6 steps of 1h ahead",
        "stream 'weather' has no row of item south",
        "no path to the head, so not used: stream news, site, weather",
        "residual: plan.1 -> load.1",
    ):
        assert words in done.stdout


def test_config_shows_defaults_and_schema(mmts: Command, workplace: Path) -> None:
    shown = mmts("config", "show", "world/config.yaml", "--set", "seed=5", cwd=workplace)
    assert shown.returncode == 0, shown.stderr
    assert "seed: 5" in shown.stdout
    assert "learning_rate: 0.001" in shown.stdout
    schema = mmts("config", "schema")
    assert "stream_dropout" in json.dumps(json.loads(schema.stdout))


@pytest.mark.slow
@pytest.mark.parametrize("change", ["edge", "stream", "rate", "item"])
def test_an_edge_a_stream_a_rate_or_an_item_less_needs_no_code(
    mmts: Command, tmp_path: Path, change: str
) -> None:
    settings = make_settings()
    frames = make_frames()
    match change:
        case "edge":
            del settings["model"]["interactions"][3]
        case "stream":
            del settings["data"]["streams"]["news"]
            del settings["model"]["encoders"]["news"]
            settings["model"]["interactions"][2]["from"].remove("news.1")
        case "rate":
            weather = frames["weather"]
            frames["weather"] = weather[weather["time"].dt.hour % 6 == 0]
        case "item":
            frames["weather"] = frames["weather"].query("item == 'north'")
    write_frames(tmp_path, frames)
    done = mmts("train", write_config(tmp_path, settings), "--run-dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr


def test_commands_run_as_modules_of_a_checkout(workplace: Path) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "pipelines.check", str(workplace / "world/config.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 items" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("how", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_the_run_as_killed_and_says_how_to_go_on(
    tmp_path: Path, how: str, code: int
) -> None:
    import os
    import signal
    import subprocess
    import sys
    import time

    from mlflow.tracking import MlflowClient

    settings = make_settings() | {"tracking": {}}
    settings["training"] = {"max_epochs": 10_000, "patience": 10_000}
    config = write_world(tmp_path / "world", settings)
    command = [sys.executable, "-m", "mmts.pipelines.main", "train", str(config)]
    process = subprocess.Popen(
        [*command, "--run-dir", str(tmp_path / "runs/one")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "runs/one/history.jsonl").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(getattr(signal, how))
    _, told = process.communicate(timeout=60)
    assert process.returncode == code, told
    assert "Traceback" not in told
    assert f"stopped: `mmts train --resume {tmp_path / 'runs/one'}` goes on from here" in told
    assert (tmp_path / "runs/one/best.mmts").is_file()
    client = MlflowClient(f"sqlite:///{tmp_path / 'runs/mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'small-world'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "KILLED"
