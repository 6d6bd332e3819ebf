"""What a terminal shows while an epoch runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmts.config import load_config
from mmts.experiment import train
from mmts.training import progress


def test_the_bar_counts_windows_and_goes_away(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN", 0.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    config = load_config(world, ["training.max_epochs=1", "training.steps_per_epoch=2"])
    train(config, tmp_path / "run", progress_bar=True)
    shown = capsys.readouterr().err
    size = 2 * config.training.batch_size
    assert "epoch 1/1" in shown
    assert f"{size}/{size}" in shown
    assert "windows/s" in shown


def test_without_a_terminal_there_is_none(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(load_config(world, ["training.max_epochs=1"]), tmp_path / "run")
    assert "windows/s" not in capsys.readouterr().err
