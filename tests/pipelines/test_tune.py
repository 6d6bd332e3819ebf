"""`mmts tune` by the real command: exit codes, what is printed, workers, and being ended."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command
from tests.factories import write_world
from tests.tuning.worlds import make_searched_settings


def write(folder: Path, search: dict[str, Any] | None = None, **tuning: Any) -> Path:
    settings = make_searched_settings(**({} if search is None else {"search": search}), **tuning)
    settings["training"] |= {"max_epochs": 2}
    return write_world(folder, settings)


def runs_of(database: Path) -> dict[str, tuple[str, str | None]]:
    """Return status and parent of every run, by its name."""
    query = (
        "select r.name, r.status, t.value from runs r left join tags t "
        "on t.run_uuid = r.run_uuid and t.key = 'mlflow.parentRunId'"
    )
    connection = sqlite3.connect(database)
    found = {name: (status, parent) for name, status, parent in connection.execute(query)}
    connection.close()
    return found


def begin(*arguments: object, cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mmts.pipelines.main", "tune", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def read_until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    until = time.monotonic() + 120
    for line in process.stdout:
        assert time.monotonic() < until
        if words in line:
            return
    raise AssertionError(f"{words!r} was never said")


def test_a_search_is_shown_and_says_what_to_do_next(mmts: Command, tmp_path: Path) -> None:
    done = mmts("tune", write(tmp_path / "world", num_trials=2), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    study = "runs/small-world-study"
    for words in (
        "trials: 2 complete, 0 pruned, 0 failed",
        f"table:  {study}/trials.csv",
        "the test split was not looked at",
        f"mmts train {study}/best.yaml",
        "learning_rate",
    ):
        assert words in done.stdout
    assert "trial 1: validation loss" in done.stderr
    assert (tmp_path / study / "best.mmts").is_file()


def test_a_faulty_space_is_refused_before_anything_is_written(
    mmts: Command, tmp_path: Path
) -> None:
    config = write(tmp_path / "world", {"training.lerning_rate": [1], "training.patience": [0]})
    done = mmts("tune", config, "--workers", 0, cwd=tmp_path)
    assert done.returncode == 2
    assert "tuning.workers: 0 will not do" in done.stderr
    done = mmts("tune", config, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "training.lerning_rate: unknown key; did you mean 'learning_rate'?" in done.stderr
    assert "training.patience: 0 will not do" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_where_all_trials_fail_the_exit_code_is_one(mmts: Command, tmp_path: Path) -> None:
    config = write(tmp_path / "world", {"training.learning_rate": [1e30]}, num_trials=2)
    done = mmts("tune", config, cwd=tmp_path)
    assert done.returncode == 1
    assert "all 2 trials failed, the first because: the loss is" in done.stderr
    assert "trials: 0 complete, 0 pruned, 2 failed" in done.stdout


@pytest.mark.slow
def test_two_workers_share_the_trials_and_each_is_a_run_of_the_study(
    mmts: Command, tmp_path: Path
) -> None:
    config = write(tmp_path / "world", num_trials=4)
    done = mmts("tune", config, "--workers", 2, "--set", "tracking.enabled=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "trials: 4 complete" in done.stdout
    assert "worker 1: " in done.stderr
    assert "worker 2: " in done.stderr
    connection = sqlite3.connect(tmp_path / "runs" / "mlflow.db")
    (parent,) = connection.execute(
        "select run_uuid from runs where name = 'small-world-study'"
    ).fetchone()
    connection.close()
    found = runs_of(tmp_path / "runs" / "mlflow.db")
    assert found.pop("small-world-study") == ("FINISHED", None)
    assert found == {f"small-world-study-{n}": ("FINISHED", parent) for n in range(4)}
    assert not list((tmp_path / "runs" / "mlartifacts").rglob("*.mmts"))
    assert [path.name for path in tmp_path.rglob("*.mmts")] == ["best.mmts"]


@pytest.mark.slow
def test_a_killed_search_goes_on_and_leaves_no_run_open(mmts: Command, tmp_path: Path) -> None:
    config = write(tmp_path / "world", num_trials=3)
    arguments = (
        config, "--set", "tracking.enabled=true", "--set", "training.max_epochs=80", "--set",
        "training.patience=80",
    )  # fmt: skip
    process = begin(*arguments, cwd=tmp_path)
    read_until(process, "trial 1: ")
    read_until(process, "epoch 1/80")
    process.kill()
    process.communicate()
    done = mmts("tune", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "trial 1 was interrupted, and is repeated" in done.stderr
    assert "trials: 3 complete, 0 pruned, 0 failed" in done.stdout
    found = runs_of(tmp_path / "runs" / "mlflow.db")
    statuses = {name.removeprefix("small-world-study"): found[name][0] for name in found}
    assert statuses == {
        "": "FINISHED", "-0": "FINISHED", "-1": "KILLED", "-2": "FINISHED", "-3": "FINISHED"
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "how", "code"),
    [(1, signal.SIGINT, 130), (2, signal.SIGINT, 130), (1, signal.SIGTERM, 143),
     (2, signal.SIGTERM, 143)],
)  # fmt: skip
def test_a_signal_keeps_what_is_done(
    mmts: Command, tmp_path: Path, workers: int, how: signal.Signals, code: int
) -> None:
    config = write(tmp_path / "world", num_trials=50)
    arguments = (config, "--workers", workers, "--set", "tracking.enabled=true")
    process = begin(*arguments, cwd=tmp_path)
    read_until(process, "best so far")
    read_until(process, "trial 2: training")
    process.send_signal(how)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert "missing; the same command goes on with them" in said
    assert "Traceback" not in said
    assert runs_of(tmp_path / "runs" / "mlflow.db")["small-world-study"] == ("KILLED", None)
    study = tmp_path / "runs" / "small-world-study"
    assert (study / "best.yaml").is_file()
    assert (study / "best.mmts").is_file()
    done = mmts("tune", *arguments, "--trials", 4, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0 failed" in done.stdout
