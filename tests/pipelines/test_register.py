"""`--register`, `mmts register`, and commands that are given an address, by the real commands."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from mmts.checkpoint import load_checkpoint, save_checkpoint
from mmts.errors import TrackingError
from mmts.tracking.config import TrackingConfig
from pipelines.evaluate import evaluate
from pipelines.register import register
from tests.conftest import Command
from tests.factories import make_settings, write_world


@pytest.fixture(scope="module")
def workplace(mmts: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with data in `world` and a registered training in `runs/one`."""
    folder = tmp_path_factory.mktemp("workplace")
    config = write_world(folder / "world", make_settings() | {"tracking": {}})
    done = mmts(
        "train", config, "--run-dir", "runs/one", "--register", "small", "--alias", "champion",
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        "registered: version 1 of small",
        "next:       mmts forecast models:/small@champion --output forecast.csv",
    ]
    return folder


@pytest.mark.slow
def test_an_address_forecasts_as_the_file_does(mmts: Command, workplace: Path) -> None:
    for checkpoint, name in (("models:/small@champion", "a"), ("runs/one/best.mmts", "b")):
        done = mmts("forecast", checkpoint, "--output", f"{name}.csv", cwd=workplace)
        assert done.returncode == 0, done.stderr
        assert "warning" not in done.stderr
    assert (workplace / "a.csv").read_text() == (workplace / "b.csv").read_text()
    assert len(pd.read_csv(workplace / "a.csv")) == 2 * 6


@pytest.mark.slow
def test_the_registered_model_belongs_to_the_run(workplace: Path) -> None:
    from mlflow.tracking import MlflowClient

    from mmts.checkpoint import read_info

    uri = f"sqlite:///{workplace / 'runs/mlflow.db'}"
    version = MlflowClient(uri, uri).get_model_version_by_alias("small", "champion")
    assert version.run_id == read_info(workplace / "runs/one/best.mmts").run_id is not None


@pytest.mark.slow
def test_what_an_address_is_evaluated_to_stands_in_runs_and_in_the_run(
    mmts: Command, workplace: Path
) -> None:
    done = mmts("evaluate", "models:/small/1", cwd=workplace)
    assert done.returncode == 0, done.stderr
    assert (workplace / "runs/small-v1/evaluation/evaluation.json").is_file()
    from mlflow.tracking import MlflowClient

    from mmts.checkpoint import read_info

    run_id = read_info(workplace / "runs/one/best.mmts").run_id
    run = MlflowClient(f"sqlite:///{workplace / 'runs/mlflow.db'}").get_run(run_id)
    assert "test/mae" in run.data.metrics
    done = mmts("explain", "models:/small@champion", cwd=workplace)
    assert done.returncode == 0, done.stderr
    assert (workplace / "runs/small-v1/explanation/explanation.json").is_file()


@pytest.mark.slow
def test_a_checkpoint_is_registered_later_as_well(mmts: Command, workplace: Path) -> None:
    done = mmts("register", "runs/one/last.mmts", "later", "--alias", "x", cwd=workplace)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "registered: version 1 of later"
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("next:")]
    assert line.split()[1:4] == ["mmts", "forecast", "models:/later@x"]
    command = line.partition("mmts ")[2].split()
    done = mmts(*command, cwd=workplace)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--alias", "champion"], "--alias champion: belongs to a registered model"),
        (["--register", "a/b"], "'a/b' cannot name a registered model"),
        (["--register", "small", "--alias", "latest"], "MLflow keeps it for itself"),
        (["--register", "small", "--set", "tracking.enabled=false"], "tracking is off"),
    ],
)
def test_what_cannot_be_registered_is_told_before_training(
    mmts: Command, tmp_path: Path, options: list[str], said: str
) -> None:
    config = write_world(tmp_path / "world", make_settings() | {"tracking": {}})
    done = mmts("train", config, "--run-dir", "runs/two", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("TrackingError: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_model_that_could_not_be_registered_is_kept(mmts: Command, workplace: Path) -> None:
    done = mmts(
        "train", "world/config.yaml", "--run-dir", "runs/three", "--register", "small",
        "--alias", "champion", "--set", "tracking.uri=http://127.0.0.1:9", cwd=workplace,
    )  # fmt: skip
    assert done.returncode == 2
    assert "the model is trained and kept, but not registered. MLflow at http" in done.stderr
    assert "Traceback" not in done.stderr
    again = "mmts register runs/three/best.mmts small --alias champion"
    assert again in done.stderr
    done = mmts(*again.split()[1:], "--uri", f"sqlite:///{workplace}/runs/mlflow.db",
                cwd=workplace)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "registered: version 2 of small" in done.stdout


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        yield listener


def forge(trained: Path, target: Path, uri: str) -> Path:
    """Write a checkpoint that names a store of a stranger, and knows of no run."""
    info, model = load_checkpoint(trained)
    config = info.config.model_copy(update={"tracking": TrackingConfig(uri=uri)})
    target.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(
        target, info.model_copy(update={"config": config, "run_id": None}), model.state_dict()
    )
    return target


@pytest.mark.parametrize("scheme", ["http", "postgresql"])
def test_a_store_that_a_checkpoint_alone_names_is_not_asked(
    trained: Path, tmp_path: Path, listener: socket.socket, scheme: str
) -> None:
    address = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
    checkpoint = forge(trained, tmp_path / "run" / "best.mmts", address)
    for runs in (None, tmp_path / "runs"):
        with pytest.raises(TrackingError, match="Name the store that you mean with --uri") as told:
            register(checkpoint, "small", runs=runs)
        assert address in str(told.value)
    with pytest.raises(TrackingError, match=f"--refit: would record its trainings at {address}"):
        evaluate(checkpoint, with_backtest=True, refit=True)
    with pytest.raises(TimeoutError):
        listener.accept()
    assert [file.name for file in tmp_path.rglob("*")] == ["run", "best.mmts"]


def test_no_table_is_made_in_a_database_that_a_checkpoint_alone_names(
    mmts: Command, trained: Path, tmp_path: Path
) -> None:
    database = tmp_path / "bookmarks.db"
    database.write_bytes(b"")
    forge(trained, tmp_path / "run" / "best.mmts", f"sqlite:///{database}")
    done = mmts("register", "run/best.mmts", "small", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"TrackingError: run/best.mmts: names the MLflow store {database}"
    )
    assert "Traceback" not in done.stderr
    assert database.read_bytes() == b""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["forecast", "evaluate", "explain", "calibrate"])
def test_an_address_that_leads_nowhere_says_what_there_is(
    mmts: Command, workplace: Path, command: str
) -> None:
    output = ["--output", "none.csv"] if command == "forecast" else []
    done = mmts(command, "models:/smal@champion", *output, cwd=workplace)
    assert done.returncode == 2
    assert done.stderr == (
        "TrackingError: models:/smal@champion: runs/mlflow.db has no registered model 'smal'; "
        "did you mean 'small'?\n"
    )
