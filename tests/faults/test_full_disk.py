"""Commands on a disk that is really full: what was there stays, and there is a way on."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mmts.checkpoint import load_checkpoint
from mmts.run_folders.history import read_history
from tests.conftest import Command
from tests.factories import write_world
from tests.faults.disk import snapshot
from tests.tuning.worlds import make_searched_settings

PAGE = 4096
"""Of a tmpfs, which rounds every file up to whole ones."""

SEARCH = {"training.learning_rate": [1e-3, 1e-2]}


def write_tiny_world(folder: Path) -> Path:
    settings = make_searched_settings(SEARCH, num_trials=2)
    settings["training"]["max_epochs"] = 3
    return write_world(folder, settings)


def fill(disk: Path, leave: int) -> Path:
    """Take the room on a disk, but for so many bytes; returns the file that takes it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(PAGE))
            except OSError:
                break
        file.truncate(file.tell() - leave)
    return ballast


def assert_told(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.slow
def test_a_training_ends_where_the_disk_is_full_and_keeps_what_it_had(
    mmts: Command, small_disk: Path, tmp_path: Path
) -> None:
    config = write_tiny_world(tmp_path / "world")
    assert mmts("train", config, "--run-dir", tmp_path / "run").returncode == 0
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "run").iterdir()}
    # Room for all that there is in the end, and for nothing beside what it replaces: a checkpoint,
    # or the state of the training.
    needed = sum(-(-size // PAGE) * PAGE for size in sizes.values())
    fill(small_disk, leave=needed + sizes["best.mmts"] // 2)
    done = mmts("train", config, "--run-dir", small_disk / "run")
    assert_told(
        done,
        ": cannot be written: No space left on device. Make room there, or name another",
        f"stopped: {small_disk / 'run'} keeps what was written before",
    )
    for name in ("best.mmts", "last.mmts"):
        load_checkpoint(small_disk / "run" / name)
    assert len(read_history(small_disk / "run" / "history.jsonl")) >= 1
    assert not list((small_disk / "run").glob("*.part"))


@pytest.mark.slow
def test_a_study_goes_on_when_there_is_room_again(
    mmts: Command, small_disk: Path, tmp_path: Path
) -> None:
    config = write_tiny_world(tmp_path / "world")
    arguments = ["tune", config, "--study", small_disk / "study", "--quiet"]
    refusals = []
    for leave in range(PAGE, 500_000, 40_000):
        ballast = fill(small_disk, leave)
        done = mmts(*arguments)
        ballast.unlink()
        if done.returncode == 0:
            break
        assert_told(done, "OutputError: ")
        refusals.append(done.stderr)
    assert done.returncode == 0, done.stderr
    # There was no room to begin with, then none for the trials, and then none for what they train.
    assert "study.yaml: cannot be written: No space left" in refusals[0]
    assert any("study.db: the trials cannot be read or written: " in said for said in refusals)
    rows = (small_disk / "study" / "trials.csv").read_text().splitlines()[1:]
    assert [row.split(",")[1] for row in rows if ",interrupted," not in row] == ["complete"] * 2


@pytest.mark.parametrize("num_bytes", [0, 1, 1000])
def test_a_limit_on_the_size_of_files_is_told(
    num_bytes: int, trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "forecast.csv").write_text("precious")
    command = [sys.executable, "-m", "mmts.pipelines.main", "forecast", str(trained)]
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    done = subprocess.run(
        [*command, "--output", "forecast.csv"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard)),
    )  # fmt: skip
    assert_told(done, "forecast.csv: cannot be written: File too large. The system allows no")
    assert snapshot(tmp_path) == {"forecast.csv": b"precious"}


@pytest.mark.slow
def test_a_cache_on_a_full_disk_is_done_without_and_told_once(
    mmts: Command, small_disk: Path, tmp_path: Path
) -> None:
    config = write_tiny_world(tmp_path / "world")
    fill(small_disk, leave=4096)
    done = mmts(
        "train", config, "--run-dir", tmp_path / "run", "--set", "data.cache=always",
        "--set", f"data.cache_folder={small_disk / 'cache'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.lower().count("without a cache") == 1, done.stderr
    assert "No space left on device. Make room there" in done.stderr
    assert not list(small_disk.glob("cache/.mmts-*"))
