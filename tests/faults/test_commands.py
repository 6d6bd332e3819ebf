"""Every command that writes, with a fault at each of the things that it does to files."""

from __future__ import annotations

import errno
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from mmts.checkpoint import load_checkpoint
from mmts.config import load_config
from mmts.experiment import train
from mmts.folder_lock import LOCK
from mmts.run_folders.history import read_history
from mmts.tracking.journal import RECORDS, Journal
from mmts.training.state import read_state
from tests.factories import write_world
from tests.faults.disk import FaultyDisk, run_here, snapshot
from tests.tuning.worlds import make_searched_settings

SEARCH = {"training.learning_rate": [1e-3, 1e-2]}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files of a world in which training takes no time, and a run."""
    folder = tmp_path_factory.mktemp("tiny")
    settings = make_searched_settings(SEARCH, num_trials=2)
    settings["data"]["streams"]["load"]["context_length"] = "6h"
    settings["training"]["max_epochs"] = 2
    config = write_world(folder / "world", settings)
    train(load_config(config), folder / "run")
    return folder


class Trial:
    """A folder that is put back before each fault, and a command in it."""

    def __init__(self, good: Path, folder: Path, command: Callable[[Path], list[object]]) -> None:
        self.good = good
        self.folder = folder
        self.command = command
        self.before = snapshot(good)

    def run(self, fails_at: int | None, error: int = errno.ENOSPC) -> tuple[int, FaultyDisk]:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.good, self.folder)
        disk = FaultyDisk(self.folder, fails_at, error)
        return run_here(disk, *self.command(self.folder)), disk

    def changed(self) -> dict[str, bytes]:
        """Return what is there and was not so before, and hold that nothing is gone."""
        after = snapshot(self.folder)
        assert not set(self.before) - set(after)
        return {
            name: content
            for name, content in after.items()
            if self.before.get(name) != content and not name.endswith(LOCK)
        }


def is_whole(name: str, content: bytes, folder: Path) -> bool:
    """Tell whether a file is one that a command has written to its end."""
    match Path(name).suffix:
        case ".json":
            json.loads(content)
        case ".db":
            with closing(sqlite3.connect(folder / name)) as database:
                return database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        case ".jsonl" if Path(name).name == RECORDS:
            # Appended to and not replaced: a line that was torn is dropped by whoever reads it.
            place = (folder / name).parent
            assert list(Journal(place, place.parent).read())
        case ".jsonl":
            read_history(folder / name)
        case ".safetensors":
            read_state((folder / name).parent)
        case ".yaml":
            yaml.safe_load(content)
        case ".mmts":
            load_checkpoint(folder / name)
        case ".png":
            return content.endswith(b"IEND\xaeB`\x82")
        case ".svg":
            return content.endswith(b"</svg>\n")
        case ".html":
            return content.rstrip().endswith(b"</html>")
        case _:
            return content.endswith(b"\n")
    return True


def inject(
    trial: Trial, capsys: pytest.CaptureFixture[str], every: int = 1, last: int | None = None
) -> int:
    """Let one thing after another fail, and hold what a user is promised; returns how many.

    every: how many things apart. last: the last of them; by default all are taken.
    """
    code, disk = trial.run(None)
    assert code == 0, capsys.readouterr().err
    reference = trial.changed()
    assert reference
    # The last of all is the sync of a folder, without which a file is whole too.
    numbers = range(1, last or len(disk.operations), every)
    injected = told = 0
    for number in numbers:
        capsys.readouterr()
        code, disk = trial.run(number)
        heard = capsys.readouterr().err
        if not disk.has_failed:
            # By the clock, a training keeps its state a few times more or less.
            continue
        injected += 1
        changed = trial.changed()
        assert not [name for name in changed if ".mmts-" in name], disk.operations[number - 1]
        for name, content in changed.items():
            assert content == reference.get(name) or is_whole(name, content, trial.folder), name
        assert "Traceback" not in heard
        if code == 0 and disk.operations[number - 1].startswith("fsync"):
            continue  # of a folder
        assert code == 2, (disk.operations[number - 1], heard)
        errors = [line for line in heard.splitlines() if line.startswith("OutputError: ")]
        assert len(errors) == 1, heard
        assert heard.rstrip().endswith(("before stays as it was.", "with what is missing."))
        told += 1
    assert told
    print(f"{injected} faults injected, {told} of them told")
    return injected


def prepare(tiny: Path, good: Path, *outputs: str) -> Path:
    """Copy the tiny world, with something precious in the place of each output."""
    shutil.copytree(tiny, good)
    for name in outputs:
        (good / name).parent.mkdir(parents=True, exist_ok=True)
        (good / name).write_bytes(b"precious")
    return good


EVALUATED = (
    "evaluation.json", "by_step.csv", "error_by_step.png", "windows.png", "report.html",
    "graph.png",
)  # fmt: skip
EXPLAINED = ("explanation.json", "edges.csv", "streams.csv")
BACKTESTED = ("backtest.json", "backtest.csv", "backtest_scores.csv", "backtest.png")

COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "init": (["init", "{}/world/load.csv", "--output", "{}/new.yaml", "--target", "load"], []),
    "check": (
        ["check", "{}/world/config.yaml", "--plot", "{}/data.png", "--graph", "{}/graph.svg"],
        ["data.png", "graph.svg"],
    ),
    "forecast": (
        ["forecast", "{}/run/best.mmts", "--output", "{}/new.csv", "--plot", "{}/new.png"],
        ["new.csv", "new.png"],
    ),
    "calibrate": (["calibrate", "{}/run/best.mmts"], ["run/calibrated.mmts"]),
    "explain": (
        ["explain", "{}/run/best.mmts", "--output", "{}/explained"],
        [f"explained/{name}" for name in EXPLAINED],
    ),
    "evaluate": (
        ["evaluate", "{}/run/best.mmts"], [f"run/evaluation/{name}" for name in EVALUATED],
    ),
    "backtest": (
        ["evaluate", "{}/run/best.mmts", "--backtest", "--windows", "2"],
        [f"run/backtest/{name}" for name in BACKTESTED],
    ),
    "refit": (
        ["evaluate", "{}/run/best.mmts", "--backtest", "--refit", "--windows", "1"],
        [f"run/backtest-refit/{name}" for name in BACKTESTED],
    ),
    "train": (["train", "{}/world/config.yaml", "--run-dir", "{}/another"], []),
    "tune": (["tune", "{}/world/config.yaml", "--study", "{}/study", "--quiet"], []),
}  # fmt: skip
"""Each command, and what it would overwrite; `{}` is the folder."""


@pytest.mark.parametrize(
    ("command", "every"),
    [
        ("init", 1),
        ("check", 1),
        ("forecast", 1),
        ("calibrate", 1),
        # Each file takes five steps, so that every fourth one is at every kind of them.
        pytest.param("explain", 4, marks=pytest.mark.slow),
        pytest.param("evaluate", 4, marks=pytest.mark.slow),
        pytest.param("backtest", 1, marks=pytest.mark.slow),
        pytest.param("refit", 3, marks=pytest.mark.slow),
        pytest.param("train", 3, marks=pytest.mark.slow),
        pytest.param("tune", 3, marks=pytest.mark.slow),
    ],
)
def test_a_fault_at_any_step_is_told_and_spoils_nothing(
    command: str, every: int, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, outputs = COMMANDS[command]
    good = prepare(tiny, tmp_path / "good", *outputs)

    def arguments(folder: Path) -> list[object]:
        return [word.replace("{}", str(folder)) for word in words]

    assert inject(Trial(good, tmp_path / "work", arguments), capsys, every) > 2
