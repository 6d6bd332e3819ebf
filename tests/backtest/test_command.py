"""`mmts evaluate --backtest`, in a new process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mmts.checkpoint import read_info
from mmts.errors import MmtsError
from pipelines.backtest import run_backtest
from tests.backtest.worlds import tiny_settings, train_tiny
from tests.conftest import Command

FILES = {"backtest.json", "backtest.csv", "backtest_scores.csv", "backtest.png"}


@pytest.fixture(scope="module")
def done(
    mmts: Command, tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[subprocess.CompletedProcess[str], Path]:
    folder = tmp_path_factory.mktemp("command") / "deep" / "folder"
    return mmts("evaluate", tiny, "--backtest", "--windows", 3, "--output", folder), folder


def test_shows_scores_wins_and_a_verdict(
    done: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    shown, folder = done
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("3 cut-offs, 2024-01-16 06:00:00 to 2024-01-16 18:00:00")
    assert " of 3" in shown.stdout
    assert "Over 3 cut-offs, the model's mean MAE of load" in shown.stdout
    assert "coverage of 80%" in shown.stdout
    assert {path.name for path in folder.glob("[!.]*")} == FILES


def test_files_tell_the_same(done: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, folder = done
    table = pd.read_csv(folder / "backtest.csv")
    scores = pd.read_csv(folder / "backtest_scores.csv")
    report = json.loads((folder / "backtest.json").read_text())
    ridge = table[table["method"] == "ridge"]
    missed = (ridge["forecast"] - ridge["actual"]).abs().groupby(ridge["cutoff"]).mean()
    own = scores[(scores["method"] == "ridge") & scores["step"].isna()].set_index("cutoff")["mae"]
    assert own.to_dict() == pytest.approx(missed.to_dict())
    assert report["scores"]["ridge"]["load"]["mae"]["mean"] == pytest.approx(missed.mean())
    assert (folder / "backtest.png").read_bytes().startswith(b"\x89PNG")


def test_with_refit_trains_below_its_folder_and_goes_on_there(mmts: Command, tiny: Path) -> None:
    command = ("evaluate", tiny, "--backtest", "--refit", "--windows", 1, "--json")
    first = mmts(*command)
    assert first.returncode == 0, first.stderr
    folder = tiny.parent / "backtest-refit"
    (place,) = (folder / "refits").iterdir()
    assert read_info(place / "best.mmts").config.name == "tiny"
    again = mmts(*command)
    assert "trained before" in again.stderr
    assert json.loads(again.stdout) == json.loads(first.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_was_trained_and_writes_no_half_report(
    mmts: Command, tiny: Path, tmp_path: Path, how: signal.Signals, code: int
) -> None:
    command = (
        "evaluate", tiny, "--backtest", "--refit", "--windows", 6, "--output", tmp_path / "out",
    )  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "mmts.pipelines.main", *map(str, command)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    until = time.monotonic() + 120
    while not list((tmp_path / "out" / "refits").glob("*[!l]/best.mmts")):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(how)
    printed, told = process.communicate(timeout=60)
    assert (process.returncode, printed) == (code, ""), told
    assert "Traceback" not in told
    assert not list((tmp_path / "out").glob("backtest*"))
    again = mmts(*command)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("trained before") >= 1
    assert {path.name for path in (tmp_path / "out").iterdir()} >= FILES
    assert not list((tmp_path / "out" / "refits").glob("*.partial"))


def test_faults_of_options_are_told_at_once_and_nothing_is_written(
    mmts: Command, tiny: Path, tmp_path: Path
) -> None:
    options = ["--backtest", "--windows", "-1", "--step", "soon", "--subsets", "--shuffle=plan"]
    failed = mmts("evaluate", tiny, "--output", tmp_path / "out", *options)
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr
    for part in ("--windows -1", "--step soon", "--shuffle, --subsets: cannot be combined"):
        assert part in failed.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_windows": 0}, "--windows 0"),
        ({"step": "90min"}, "--step 90min: 90min is no whole number of forecast steps of 1h"),
        ({"num_windows": 1000}, "--windows 1000: [0-9]+ cut-offs, 6 forecast steps apart, fit"),
        ({"num_windows": 1000, "is_refit": True}, "leave a window to train on"),
        (
            {"num_windows": 3, "is_refit": True, "asked": False},
            "--windows, --refit: belongs to a backtest",
        ),
    ],
)
def test_a_fault_says_what_to_do(
    tiny: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {
        "asked": True, "num_windows": None, "step": None, "is_refit": False, "misfits": [],
    }  # fmt: skip
    with pytest.raises(MmtsError, match=message):
        run_backtest(tiny, tmp_path / "out", None, "test", True, False, **(given | options))
    assert not (tmp_path / "out").exists()


def test_is_recorded_in_the_run_of_the_training(mmts: Command, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    settings = tiny_settings()
    settings["tracking"] = {}
    checkpoint = train_tiny(tmp_path, settings=settings)
    for options in ([], ["--refit"]):
        command = ("evaluate", checkpoint, "--backtest", "--windows", 2, *options)
        assert mmts(*command).returncode == 0
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    run_id = read_info(checkpoint).run_id
    assert run_id is not None
    run = client.get_run(run_id)
    for prefix in ("backtest", "backtest/refit"):
        report = json.loads(
            (tmp_path / "run" / prefix.replace("/", "-") / "backtest.json").read_text()
        )
        expected = report["scores"]["ridge"]["load"]["mae"]
        assert run.data.metrics[f"{prefix}/ridge/mae"] == pytest.approx(expected["mean"])
        assert run.data.metrics[f"{prefix}/ridge/mae_deviation"] == pytest.approx(
            expected["deviation"]
        )
        history = client.get_metric_history(run_id, f"{prefix}/model/by_cutoff/mae")
        assert [point.step for point in history] == [1, 2]
        assert run.data.tags[f"{prefix.replace('/', '.')}.verdict"] == report["verdict"]
        kept = {Path(file.path).name for file in client.list_artifacts(run_id, prefix)}
        assert kept >= FILES
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    below = [
        other
        for other in client.search_runs([experiment.experiment_id])
        if other.data.tags.get("mlflow.parentRunId") == run_id
    ]
    assert len(below) == 2
    assert {other.info.status for other in below} == {"FINISHED"}
