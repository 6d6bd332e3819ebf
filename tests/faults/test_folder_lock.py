"""Two commands never write into one folder."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from mmts.errors import OutputError
from mmts.folder_lock import LOCK, hold_folder
from mmts.part_files import name_part
from mmts.training.leading import make_run_folder
from tests.conftest import ROOT, Command
from tests.factories import make_settings, write_config
from tests.faults.disk import snapshot

HOLD = """
import sys, time
from pathlib import Path
from mmts.folder_lock import hold_folder
with hold_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def held_elsewhere(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold a folder."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_who_holds_a_folder_is_named_to_whoever_comes_second(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path / "run") as process:
        for _ in range(2):  # The first refusal takes nothing away from it.
            with pytest.raises(OutputError) as told, hold_folder(tmp_path / "run"):
                pass
            pattern = rf"process {process.pid} on \S+ \(-c \S+, since [-\d]+ [:\d]+\) is writing"
            assert re.search(pattern, str(told.value)), told.value
        process.communicate("\n")
    with hold_folder(tmp_path / "run"):
        pass


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    with held_elsewhere(tmp_path) as process:
        process.kill()
        process.wait()
        with hold_folder(tmp_path):
            assert f"process {os.getpid()} " in (tmp_path / LOCK).read_text()


def test_one_process_cannot_hold_a_folder_twice(tmp_path: Path) -> None:
    with hold_folder(tmp_path):
        with pytest.raises(OutputError, match=f"process {os.getpid()} "), hold_folder(tmp_path):
            pass
        # Nor has it let go of it.
        with pytest.raises(OutputError, match="is writing to it"), hold_folder(tmp_path):
            pass


def test_what_was_left_half_written_is_removed_by_the_next_to_hold_the_folder(
    tmp_path: Path,
) -> None:
    # No process has so large a number.
    part = name_part().replace(f"-{os.getpid()}-", f"-{2**31 - 1}-")
    (tmp_path / part).write_bytes(b"half")
    with hold_folder(tmp_path):
        assert set(snapshot(tmp_path)) == {LOCK}


@pytest.mark.parametrize("error", ["ENOSYS", "EOPNOTSUPP", "ENOLCK"])
def test_a_file_system_without_locks_will_do(
    tmp_path: Path, error: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(getattr(errno, error), os.strerror(getattr(errno, error)))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with caplog.at_level(logging.WARNING, logger="mmts"), hold_folder(tmp_path):
        pass
    assert "knows no locks" in caplog.text


def test_a_folder_that_cannot_be_written_cannot_be_held(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for folder in (small_disk, small_disk / "run"):
        with pytest.raises(OutputError, match="Read-only file system"), hold_folder(folder):
            pass


def test_runs_that_begin_within_a_second_get_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "strftime", lambda _: "20240101-000000")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: make_run_folder(tmp_path / "runs", "wind"), range(40)))
    assert len(set(made)) == 40
    assert {path.name for path in made} == {path.name for path in (tmp_path / "runs").iterdir()}
    assert tmp_path / "runs" / "wind-20240101-000000-40" in made


@pytest.mark.parametrize(
    "command",
    [
        ["train", "config.yaml", "--run-dir", "held"],
        ["evaluate", "best.mmts", "--output", "held"],
        ["explain", "best.mmts", "--output", "held"],
        ["evaluate", "best.mmts", "--backtest", "--output", "held"],
        ["tune", "config.yaml", "--study", "held"],
    ],
    ids=lambda words: "-".join(words[:3:2]),
)
def test_a_command_that_comes_second_is_refused(
    command: list[str], mmts: Command, trained: Path, tmp_path: Path
) -> None:
    settings = make_settings()
    settings["tuning"] = {"search": {"training.learning_rate": [1e-3, 1e-2]}}
    settings["data"]["root"] = str(trained.parents[1] / "world")
    write_config(tmp_path, settings)
    (tmp_path / "best.mmts").symlink_to(trained)
    with held_elsewhere(tmp_path / "held") as process:
        before = snapshot(tmp_path)
        done = mmts(*command, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert f"OutputError: held: process {process.pid} on " in done.stderr
        assert "Traceback" not in done.stderr
        assert snapshot(tmp_path) == before


@pytest.mark.slow
def test_of_two_trainings_in_one_folder_one_is_refused_and_the_other_ends_well(
    world: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "mmts.pipelines.main", "train", str(world), "--run-dir", "run"]
    both = [
        subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    told = {process.communicate()[1]: process.returncode for process in both}
    assert sorted(told.values()) == [0, 2]
    (refused,) = [words for words, code in told.items() if code]
    assert re.search("OutputError: run: (process .* is writing|holds files already)", refused)
    assert {"best.mmts", "last.mmts", "history.jsonl"} <= set(snapshot(tmp_path / "run"))
