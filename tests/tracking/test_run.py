"""Runs in a SQLite store, read back."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from mmts.errors import OutputError
from mmts.tracking.config import TrackingConfig
from mmts.tracking.journal import find_run_id
from mmts.tracking.run import Status, TrackedRun, reopen_run, start_run
from mmts.tracking.store import locate_store
from mmts.tracking.training_page import record_error
from tests.conftest import ROOT

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CONFIG = TrackingConfig(tags={"team": "grid"})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the one store of these tests: to make one takes seconds."""
    return tmp_path_factory.mktemp("of runs 100% #1") / "runs"


@pytest.fixture(scope="module")
def client(runs: Path) -> MlflowClient:
    begin(runs).finish("FINISHED")
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=locate_store(None, runs).uri)


def begin(runs: Path, run_id: str | None = None, folder: Path | None = None) -> TrackedRun:
    return start_run(
        CONFIG,
        experiment="load",
        run_name="first",
        folder=folder or runs / uuid.uuid4().hex,
        store=runs,
        description="Forecasts **load**.",
        tags={"kind": "training"},
        run_id=run_id,
    )


def home_of(run: TrackedRun) -> Path:
    assert run._journal is not None
    return run._journal.home


def id_of(run: TrackedRun) -> str:
    assert run.run_id is not None
    return run.run_id


def test_a_run_can_be_read_back_from_the_store(
    runs: Path, client: MlflowClient, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "best.mmts"
    checkpoint.write_bytes(b"weights")
    run = begin(runs)
    run.log_params({"dim": 64, "rate": 1e-3, "compile": False, "warmup": None, "head": "quantile"})
    for step in range(2500):
        run.log_metrics({"train/loss": 1 / (step + 1), "gap": float(step)}, step)
    run.set_tags({"data": "example"})
    run.log_text("seed: 7\n", "config/config.yaml")
    run.log_file(checkpoint, "checkpoints")
    run.make_file(lambda: b"drawn", "pictures/forecast.png")
    columns = {"time (past)": "double"}
    run.log_dataset("load", "/data/load.csv", "f" * 64, "training", {"rows": 960}, columns)
    run.finish("FINISHED")

    found = client.get_run(id_of(run))
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "first"
    assert client.get_experiment(found.info.experiment_id).name == "load"
    assert found.data.params == {
        "dim": "64", "rate": "0.001", "compile": "false", "warmup": "null", "head": "quantile"
    }  # fmt: skip
    words = {"team": "grid", "kind": "training", "data": "example"}
    assert words.items() <= found.data.tags.items()
    assert found.data.tags["mlflow.note.content"] == "Forecasts **load**."
    history = client.get_metric_history(id_of(run), "train/loss")
    assert [point.step for point in history] == list(range(2500))
    assert found.inputs is not None
    (dataset_input,) = found.inputs.dataset_inputs
    assert dataset_input.dataset.name == "load"
    assert dataset_input.dataset.digest == "f" * 36
    (column,) = json.loads(dataset_input.dataset.schema)["mlflow_colspec"]
    assert column == {"name": "time (past)", "type": "double", "required": False}

    artifacts = runs / "mlartifacts" / id_of(run) / "artifacts"
    assert (artifacts / "config" / "config.yaml").read_text() == "seed: 7\n"
    assert (artifacts / "checkpoints" / "best.mmts").read_bytes() == b"weights"
    assert (artifacts / "pictures" / "forecast.png").read_bytes() == b"drawn"


def _fail() -> NoReturn:
    raise RuntimeError("cannot be drawn")


def test_what_is_found_in_the_background_costs_no_more_than_itself_when_it_fails(
    runs: Path, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    run = begin(runs)
    run.make_file(_fail, "broken.png")
    run.find_tags(_fail)
    run.find_tags(lambda: {"commit": "abc"})
    run.make_file(lambda: b"drawn", "whole.png")
    run.finish("FINISHED")
    found = client.get_run(id_of(run))
    assert found.info.status == "FINISHED"
    assert found.data.tags["commit"] == "abc"
    assert [file.path for file in client.list_artifacts(id_of(run))] == ["whole.png"]
    (record,) = caplog.records
    assert "cannot be drawn" in record.getMessage()


def test_a_section_of_the_description_is_written_again_and_the_others_stay(
    runs: Path, client: MlflowClient
) -> None:
    run = begin(runs)
    run.set_section("Verdict", "Not known yet.")
    run.finish("FINISHED")
    again = reopen_run(CONFIG, run.run_id, folder=home_of(run), store=runs)
    again.set_section("Verdict", "Beats ridge.")
    again.finish("FINISHED")
    note = client.get_run(id_of(run)).data.tags["mlflow.note.content"]
    assert note == "Forecasts **load**.\n\n## Verdict\n\nBeats ridge."


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_the_status_says_how_the_run_ended(
    runs: Path, client: MlflowClient, status: Status
) -> None:
    run = begin(runs)
    assert client.get_run(id_of(run)).info.status == "RUNNING"
    run.finish(status)
    assert client.get_run(id_of(run)).info.status == status


def test_what_comes_after_the_end_changes_nothing(runs: Path, client: MlflowClient) -> None:
    run = begin(runs)
    run.finish("FAILED")
    run.log_metrics({"loss": 1.0}, 1)
    run.log_text("late", "late.txt")
    run.finish("FINISHED")
    found = client.get_run(id_of(run))
    assert (found.info.status, found.data.metrics) == ("FAILED", {})


def test_a_reopened_run_takes_metrics_and_files_and_keeps_its_status(
    runs: Path, client: MlflowClient
) -> None:
    first = begin(runs)
    first.finish("KILLED")
    again = reopen_run(CONFIG, first.run_id, folder=home_of(first), store=runs)
    assert again.run_id == first.run_id
    again.log_metrics({"test/loss": 0.5}, 0)
    again.log_text("<svg/>", "test.svg")
    again.finish("FINISHED")
    found = client.get_run(id_of(first))
    assert found.info.status == "KILLED"
    assert found.data.metrics == {"test/loss": 0.5}
    assert [file.path for file in client.list_artifacts(id_of(first))] == ["test.svg"]


def test_a_training_that_goes_on_continues_its_run(runs: Path, client: MlflowClient) -> None:
    first = begin(runs)
    first.log_metrics({"loss": 2.0}, 1)
    first.finish("KILLED")
    again = begin(runs, first.run_id)
    assert again.run_id == first.run_id
    assert client.get_run(id_of(again)).info.status == "RUNNING"
    again.log_metrics({"loss": 1.0}, 2)
    again.finish("FINISHED")
    found = client.get_run(id_of(first))
    assert (found.info.status, found.data.metrics) == ("FINISHED", {"loss": 1.0})


@pytest.mark.parametrize("is_resumed", [True, False])
def test_a_run_that_goes_on_is_no_longer_said_to_have_failed(
    is_resumed: bool, runs: Path, client: MlflowClient
) -> None:
    first = begin(runs)
    record_error(first, OutputError("the disk is full"))
    first.finish("FAILED")
    assert client.get_run(id_of(first)).data.tags["error"] == "OutputError: the disk is full"
    # By its folder, as `mmts train --resume`, or by its id, as `mlflow run`.
    again = begin(runs, folder=home_of(first)) if is_resumed else begin(runs, first.run_id)
    assert again.run_id == first.run_id
    again.finish("FINISHED")
    assert "error" not in client.get_run(id_of(first)).data.tags


def test_a_run_that_the_store_does_not_know_begins_anew(
    runs: Path, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    run = begin(runs, "0" * 32)
    run.finish("FINISHED")
    assert client.get_run(id_of(run)).info.status == "FINISHED"
    assert not caplog.records


def test_reopening_a_run_that_the_store_does_not_know_warns_and_goes_on(
    runs: Path, client: MlflowClient, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    run = reopen_run(CONFIG, "0" * 32, folder=tmp_path, store=runs)
    run.log_metrics({"test/loss": 0.5}, 0)
    run.finish("FINISHED")
    assert run.run_id is None
    (record,) = caplog.records
    assert "nothing is recorded" in record.getMessage()
    assert "0" * 32 in record.getMessage()


def test_a_server_that_a_lone_checkpoint_names_is_not_asked(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        config = TrackingConfig(uri=f"http://127.0.0.1:{listener.getsockname()[1]}")
        run = reopen_run(config, "0" * 32, folder=tmp_path, store=tmp_path)
        run.log_metrics({"test/mae": 1.0}, 0)
        run.finish("FINISHED")
        with pytest.raises(TimeoutError):
            listener.accept()
    assert "is not told of this: the checkpoint names it" in caplog.text
    assert not list(tmp_path.iterdir())


def test_reopening_makes_no_store_where_there_is_none(tmp_path: Path) -> None:
    run = reopen_run(CONFIG, "0" * 32, folder=tmp_path, store=tmp_path)
    run.finish("FINISHED")
    assert run.run_id is None
    assert not list(tmp_path.iterdir())


def test_names_and_values_that_mlflow_refuses_are_cut_or_replaced(
    runs: Path, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    run = begin(runs)
    run.log_params({"streams (all)": "x" * 9000, "/a//../b": 1, "": 2, "n" * 400: 3})
    run.log_metrics({"val/loss [MW]:é": 1.0, "nan": math.nan, "inf": math.inf}, 0)
    run.set_tags({"a/b%": "y" * 9000})
    run.finish("FINISHED")
    data = client.get_run(id_of(run)).data
    assert data.params["streams _all_"] == "x" * 499 + "…"
    assert data.params["a/__/b"] == "1"
    assert data.params["_"] == "2"
    assert data.params["n" * 247 + "..."] == "3"
    assert data.metrics["val/loss _MW__é"] == 1.0
    assert math.isnan(data.metrics["nan"])
    assert data.metrics["inf"] > 1e308
    assert data.tags["a/b_"] == "y" * 4999 + "…"
    assert not caplog.records


def test_one_refused_param_does_not_take_others_with_it(
    runs: Path, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    run = begin(runs)
    run.log_params({"dim": 64})
    run.log_params({"dim": 32} | {f"p{n}": n for n in range(30)})
    run.log_metrics({"loss": 1.0}, 0)
    run.finish("FINISHED")
    data = client.get_run(id_of(run)).data
    assert data.params == {"dim": "64"} | {f"p{n}": str(n) for n in range(30)}
    assert data.metrics == {"loss": 1.0}
    (record,) = caplog.records
    assert "left out" in record.getMessage()


def test_a_missing_file_does_not_take_others_with_it(
    runs: Path, client: MlflowClient, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    run = begin(runs)
    run.log_file(tmp_path / "missing.csv")
    run.log_text("here", "here.txt")
    run.finish("FINISHED")
    found = client.get_run(id_of(run))
    assert found.info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(id_of(run))] == ["here.txt"]
    assert "missing.csv" in caplog.text


def test_a_run_deleted_meanwhile_is_warned_of_once(
    runs: Path, client: MlflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    run = begin(runs)
    client.delete_run(id_of(run))
    for step in range(2000):
        run.log_metrics({"loss": 1.0}, step)
    run.finish("FINISHED")
    assert client.get_run(id_of(run)).data.metrics == {}
    (record,) = caplog.records
    assert "has been deleted there" in record.getMessage()


def test_a_training_that_goes_on_in_its_folder_records_nothing_twice(
    runs: Path, client: MlflowClient
) -> None:
    first = begin(runs)
    for step in range(6):
        first.log_metrics({"loss": float(step), "speed": 100.0}, step)
    first.finish("KILLED")
    again = begin(runs, folder=home_of(first))
    assert again.next_step("loss") == 6
    for step in range(4, 8):
        again.log_metrics({"loss": float(step), "speed": 90.0}, step)
    again.finish("FINISHED")
    assert again.run_id == first.run_id
    assert client.get_run(id_of(again)).info.status == "FINISHED"
    losses = client.get_metric_history(id_of(again), "loss")
    assert [(point.step, point.value) for point in losses] == [(n, float(n)) for n in range(8)]
    speeds = client.get_metric_history(id_of(again), "speed")
    assert [point.value for point in speeds] == [100.0] * 6 + [90.0] * 2


def test_an_evaluation_that_finds_the_same_again_adds_no_point(
    runs: Path, client: MlflowClient
) -> None:
    first = begin(runs)
    first.finish("FINISHED")
    for mae in (0.5, 0.5 + 1e-9, 0.75):
        again = reopen_run(CONFIG, first.run_id, folder=home_of(first), store=runs)
        for step in (1, 2):
            again.log_metrics({"test/by_step/mae": mae * step, "test/none": math.nan}, step)
        again.finish("FINISHED")
    points = client.get_metric_history(id_of(first), "test/by_step/mae")
    assert [(p.step, p.value) for p in points] == [(1, 0.5), (2, 1.0), (1, 0.75), (2, 1.5)]
    assert len(client.get_metric_history(id_of(first), "test/none")) == 2


def test_a_checkpoint_that_does_not_know_its_run_finds_it_in_its_folder(
    runs: Path, client: MlflowClient
) -> None:
    first = begin(runs)
    first.finish("FINISHED")
    assert find_run_id(home_of(first), None) == first.run_id
    assert find_run_id(home_of(first), "another") == "another"
    again = reopen_run(CONFIG, None, folder=home_of(first), store=runs)
    again.log_metrics({"test/loss": 0.5}, 0)
    again.finish("FINISHED")
    assert client.get_run(id_of(first)).data.metrics == {"test/loss": 0.5}


def test_a_checkpoint_of_another_run_in_the_folder_adds_to_its_own(
    runs: Path, client: MlflowClient
) -> None:
    study, trial = begin(runs), begin(runs)
    study.finish("FINISHED")
    trial.finish("FINISHED")
    again = reopen_run(CONFIG, trial.run_id, folder=home_of(study), store=runs)
    again.log_metrics({"test/loss": 0.5}, 0)
    again.finish("FINISHED")
    assert client.get_run(id_of(trial)).data.metrics == {"test/loss": 0.5}
    assert client.get_run(id_of(study)).data.metrics == {}


def test_two_runs_at_once_do_not_mix(runs: Path, client: MlflowClient) -> None:
    first, second = begin(runs), begin(runs)
    first.log_metrics({"loss": 1.0}, 0)
    second.log_metrics({"loss": 2.0}, 0)
    first.finish("FINISHED")
    assert client.get_run(id_of(second)).info.status == "RUNNING"
    second.finish("FAILED")
    losses = [client.get_run(id_of(run)).data.metrics["loss"] for run in (first, second)]
    assert losses == [1.0, 2.0]


def test_tracking_touches_neither_the_environment_nor_mlflows_global_state(
    runs: Path, client: MlflowClient
) -> None:
    import mlflow

    before = dict(os.environ), mlflow.get_tracking_uri()
    run = begin(runs)
    run.finish("FINISHED")
    assert (dict(os.environ), mlflow.get_tracking_uri()) == before
    assert mlflow.active_run() is None


def test_switched_off_it_does_nothing(tmp_path: Path) -> None:
    run = start_run(
        TrackingConfig(enabled=False),
        experiment="load",
        run_name="first",
        folder=tmp_path,
        store=tmp_path,
    )
    run.log_params({"dim": 64})
    run.log_metrics({"loss": 1.0}, 1)
    run.set_tags({"a": "b"})
    run.log_text("text", "text.txt")
    run.log_file(tmp_path / "missing")
    run.make_file(_fail, "figure.png")
    run.find_tags(_fail)
    run.set_section("Verdict", "good")
    run.log_dataset("load", "load.csv", "f", "training", {})
    run.finish("FINISHED")
    assert run.run_id is None
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_nothing_is_printed_when_a_store_is_made(tmp_path: Path) -> None:
    # In a process of its own, where mlflow logs as it does for users.
    script = """
import sys
from pathlib import Path
from mmts.tracking.config import TrackingConfig
from mmts.tracking.run import start_run
assert "mlflow" not in sys.modules
runs = Path("runs")
run = start_run(
    TrackingConfig(), experiment="load", run_name="first", folder=runs / "first", store=runs
)
run.finish("FINISHED")
print(run.run_id)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert len(done.stdout.strip()) == 32
    assert (tmp_path / "runs" / "mlflow.db").is_file()
    assert [file.name for file in tmp_path.iterdir()] == ["runs"]


@pytest.mark.slow
def test_trainings_that_begin_at_once_share_a_new_store(tmp_path: Path) -> None:
    script = """
from pathlib import Path
from mmts.tracking.config import TrackingConfig
from mmts.tracking.run import start_run
import sys
runs, name = Path("runs"), sys.argv[1]
run = start_run(TrackingConfig(), experiment="load", run_name=name, folder=runs / name, store=runs)
run.log_metrics({"loss": 1.0}, 1)
run.finish("FINISHED")
print(run.run_id)
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, name],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in ("first", "second")
    ]
    ids = [process.communicate(timeout=120)[0].strip() for process in processes]
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=locate_store(None, tmp_path / "runs").uri)
    for run_id in ids:
        assert client.get_run(run_id).data.metrics == {"loss": 1.0}
    found = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert found == ["first", "mlflow.db", "second"]
