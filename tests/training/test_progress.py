"""What a terminal shows while an epoch runs."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from rich.progress import Progress

from mmts.config import load_config
from mmts.experiment import train
from mmts.training import progress

SHORT = ["training.steps_per_epoch=3", "training.batch_size=32", "model.linear=null"]


@pytest.fixture
def shown(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """Train two epochs of three steps, with a bar that is drawn at each, on a wide terminal."""
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN", 0.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    train(load_config(world, ["training.max_epochs=2", *SHORT]), tmp_path / "run", True)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)


def test_the_bar_counts_windows_after_each_step(shown: str) -> None:
    for windows in (32, 64, 96):
        assert re.search(rf"epoch 1/2 .* {windows}/96 [\d,]+ windows/s", shown)
    assert "epoch 2/2" in shown


def test_the_bar_tells_the_time_left_in_this_epoch_and_in_all(shown: str) -> None:
    first, last = (re.findall(rf"epoch {n}/2 .*96/96 .*", shown)[0] for n in (1, 2))
    assert re.search(r" 0:00 left, at most \d+:\d\d in all$", first.rstrip())
    assert last.rstrip().endswith(" 0:00 left")


def test_a_training_that_goes_on_within_an_epoch_counts_its_own_windows_alone() -> None:
    bar = progress.EpochProgress(num_windows=1000)
    bar.batch_size, bar.is_new, now = 10, True, [0.0]
    bar.bar = Progress(auto_refresh=False, get_time=lambda: now[0])
    task = bar.bar.add_task("", total=1000, epochs_after=1, seconds_per_epoch=None, read_before=0)
    now[0] = 2.0
    bar._move_on(81)
    # 800 windows were read by a training before this one: 10 in two seconds, and 190 to go.
    (shown,) = (one for one in bar.bar.tasks if one.id == task)
    assert progress._Rate().render(shown).plain == "5 windows/s"
    assert progress._TimeLeft().render(shown).plain == "0:38 left, at most 3:58 in all"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0:00"), (59.6, "1:00"), (75, "1:15"), (3725, "1:02:05")]
)
def test_times_are_written_as_clocks_do(seconds: float, words: str) -> None:
    assert progress._say(seconds) == words


def test_without_a_terminal_there_are_plain_lines_with_speed_and_time_left(
    world: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "mmts"):
        train(load_config(world, ["training.max_epochs=2", *SHORT]), tmp_path / "run")
    assert "windows/s" not in capsys.readouterr().err
    first, last = (line for line in caplog.messages if line.startswith("epoch "))
    assert re.search(r"\(\d+ windows/s, at most \d+s left\)$", first)
    assert re.search(r"\(\d+ windows/s\)$", last)
