"""What programs and shells get of the commands: JSON, silence, exit codes, completion."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from pipelines.main import app
from tests.conftest import ROOT, Command
from tests.factories import make_settings, write_world
from tests.tuning.worlds import make_searched_settings

QUICK = ["--set", "training.steps_per_epoch=2", "--set", "model.linear=null"]
COMMANDS = [command.callback.__name__ for command in app.registered_commands if command.callback]
COMMANDS += [group.name for group in app.registered_groups if group.name]


def begin(*arguments: object, cwd: Path | None = None, **given: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mmts.pipelines.main", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **given.pop("env", {})}
    return subprocess.Popen(command, cwd=cwd, env=environment, text=True, **given)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return the config of the small world, below a folder to work in."""
    return write_world(tmp_path / "world", make_settings())


def test_train_answers_a_program(mmts: Command, config: Path, tmp_path: Path) -> None:
    done = mmts("train", config, *QUICK, "--json", "--run-dir", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["checkpoint"] == "run/best.mmts"
    assert (found["epochs"], found["best_epoch"], found["run_id"]) == (1, 1, None)
    assert [epoch["number"] for epoch in found["history"]] == [1]
    assert found["history"][0]["validation_loss"] == pytest.approx(found["validation_loss"])
    # The log is there, and not in what the program reads.
    assert "epoch 1/1: train" in done.stderr


def test_a_quiet_training_says_nothing(mmts: Command, config: Path, tmp_path: Path) -> None:
    done = mmts("train", config, *QUICK, "--quiet", "--run-dir", "run", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "run" / "best.mmts").is_file()


def test_a_training_ends_in_a_table(mmts: Command, config: Path, tmp_path: Path) -> None:
    done = mmts("train", config, "--run-dir", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert re.split(r"\s{2,}", lines[1]) == ["epoch", "train loss", "validation loss"]
    rows = [re.split(r"\s{2,}", line) for line in lines[2 : lines.index("", 1)]]
    by_epoch = {row[0]: row for row in rows}
    assert "start, the linear path alone" in by_epoch["0"][1]
    assert "last, kept in last.mmts" in by_epoch["1"][1]
    assert any("best, kept in best.mmts" in row[1] for row in rows)
    kept = [json.loads(line) for line in (tmp_path / "run/history.jsonl").read_text().splitlines()]
    for epoch in kept:
        assert float(by_epoch[str(epoch["epoch"])][-1]) == pytest.approx(
            epoch["val/loss"], rel=1e-3
        )
    assert re.search(r"^trained [\d,]+ weights in \d+ s: [\d,]+ windows/s", done.stdout, re.M)


def test_forecast_calibrate_and_evaluate_answer_a_program_or_nobody(
    mmts: Command, trained: Path, tmp_path: Path
) -> None:
    forecast = ["forecast", trained, "--output", "f.csv"]
    done = mmts(*forecast, "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert (found["output"], found["rows"], found["steps"]) == ("f.csv", 12, 6)
    assert found["items"] == ["north", "south"]
    assert len((tmp_path / "f.csv").read_text().splitlines()) == 1 + found["rows"]
    done = mmts(*forecast, "--quiet", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = mmts("calibrate", trained, "--output", "c.mmts", "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    assert found["checkpoint"] == "c.mmts"
    assert [row["level"] for row in found["quantiles"]] == [0.1, 0.5, 0.9]
    done = mmts("evaluate", trained, "--output", "e", "--quiet", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    kept = (tmp_path / "e" / "evaluation.json").read_text()
    done = mmts("evaluate", trained, "--output", "e", "--json", cwd=tmp_path)
    assert json.loads(done.stdout) == json.loads(kept)


@pytest.mark.slow
def test_a_search_answers_a_program_and_its_workers_are_quiet(
    mmts: Command, tmp_path: Path
) -> None:
    settings = make_searched_settings(num_trials=2)
    settings["training"] |= {"steps_per_epoch": 2}
    config = write_world(tmp_path / "world", settings)
    done = mmts("tune", config, "--json", "--quiet", "--workers", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["checkpoint"] == "runs/small-world-study/best.mmts"
    assert {trial["outcome"] for trial in found["trials"]} == {"complete"}
    assert (len(found["trials"]), found["missing"], found["stopped"]) == (2, 0, False)
    assert found["trials"][found["best_trial"]]["loss"] == found["validation_loss"]
    assert done.stderr == ""


def test_an_error_leaves_standard_output_empty(mmts: Command, tmp_path: Path) -> None:
    done = mmts("train", tmp_path / "none.yaml", "--json", "--quiet")
    assert (done.returncode, done.stdout) == (2, "")
    assert "none.yaml: no such file" in done.stderr


def test_a_reader_that_leaves_ends_no_command(config: Path, tmp_path: Path) -> None:
    """Train with a standard output that nobody reads from the beginning."""
    reader, writer = os.pipe()
    os.close(reader)
    process = begin(
        "train", config, *QUICK, "--run-dir", "run", cwd=tmp_path, stdout=writer,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    os.close(writer)
    _, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert "BrokenPipe" not in told
    assert (tmp_path / "run" / "best.mmts").is_file()


def test_the_version_is_that_of_the_package(mmts: Command) -> None:
    done = mmts("--version")
    assert (done.returncode, done.stdout) == (0, f"mmts {version('mmts')}\n")


@pytest.mark.parametrize("arguments", [["--help"], ["runs", "list", "."]])
def test_short_commands_survive_a_reader_that_leaves(arguments: list[str], tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = begin(*arguments, cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (0, "")


def test_a_standard_output_that_is_closed_is_none(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mmts.pipelines.main", "runs", "list", "."]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        process = begin("runs", "list", ".", cwd=tmp_path, stdout=full, stderr=subprocess.PIPE)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 2
    assert told.startswith("OutputError: standard output cannot be written: No space left")


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--json", "--quiet"])
def test_ctrl_c_ends_with_its_own_code_and_no_result(
    config: Path, tmp_path: Path, option: str
) -> None:
    process = begin(
        "train", config, option, "--set", "training.max_epochs=10000", "--set",
        "training.patience=10000", "--run-dir", "run", cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    until = time.monotonic() + 120
    while not (tmp_path / "run" / "last.mmts").exists():
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    printed, told = process.communicate(timeout=60)
    assert (process.returncode, printed) == (130, "")
    assert "Traceback" not in told


def complete(words: str, cwd: Path) -> list[str]:
    """Return what bash would offer for the last of these words."""
    parts = words.split(" ")
    surroundings = {
        "_MMTS_COMPLETE": "complete_bash",
        "COMP_WORDS": words.replace(" ", "\n"),
        "COMP_CWORD": str(len(parts) - 1),
    }
    process = begin(env=surroundings, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    offered, told = process.communicate(timeout=60)
    assert told == ""
    return offered.split()


def test_a_shell_completes_commands_and_options(tmp_path: Path) -> None:
    assert complete("mmts tr", tmp_path) == ["train"]
    assert set(complete("mmts runs ", tmp_path)) == {"list", "compare", "sync"}
    assert "--quiet" in complete("mmts train x.yaml --q", tmp_path)
    assert set(complete("mmts evaluate best.mmts --split ", tmp_path)) == {"test", "validation"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_the_script_for_the_shell_around_it_is_printed() -> None:
    # With a command behind it, so that bash stays there as the parent.
    line = f"{sys.executable} -m mmts.pipelines.main --show-completion; exit $?"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "_MMTS_COMPLETE=complete_bash" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_explained_in_the_docs(command: str) -> None:
    assert f"`mmts {command}" in (ROOT / "docs" / "commands.md").read_text()


def test_the_docs_say_which_commands_answer_programs() -> None:
    rows = re.findall(
        r"^\| `mmts (\w+)[^|]*\|[^|]*\| (yes|no) \| (yes|no) \|$",
        (ROOT / "docs" / "commands.md").read_text(),
        re.MULTILINE,
    )
    told = {command: (quiet == "yes", as_json == "yes") for command, quiet, as_json in rows}
    found = {
        command.callback.__name__: {"quiet", "as_json"}
        & set(signature(command.callback).parameters)
        for command in app.registered_commands
        if command.callback
    }
    for command, switches in found.items():
        assert told[command] == ("quiet" in switches, "as_json" in switches), command
