"""`mmts init` by the real command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Command
from tests.factories import make_frames, write_frames


def test_a_config_that_exists_is_never_overwritten(mmts: Command, tmp_path: Path) -> None:
    write_frames(tmp_path, make_frames())
    (tmp_path / "experiment.yaml").write_text("precious")
    done = mmts("init", "load.csv", "--target", "load", cwd=tmp_path)
    assert done.returncode == 2
    assert "experiment.yaml: exists already" in done.stderr
    assert (tmp_path / "experiment.yaml").read_text() == "precious"


def test_what_is_wrong_is_said_without_a_traceback_and_nothing_is_written(
    mmts: Command, tmp_path: Path
) -> None:
    write_frames(tmp_path, make_frames())
    done = mmts("init", "load.csv", "weather.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert "no target: name the column to forecast by --target" in done.stderr
    assert "weather.csv: temperature, wind" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "experiment.yaml").exists()


def test_init_tells_what_it_found_and_what_comes_next(mmts: Command, tmp_path: Path) -> None:
    write_frames(tmp_path, make_frames())
    files = [f"{name}.csv" for name in ("load", "weather", "plan", "news", "site")]
    done = mmts("init", *files, "--target", "load", "--horizon", "6h", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for words in (
        "load: 768 rows every 1h, 2 items; 1 target, 1 past",
        "plan: 864 rows every 1h, 2 items; 2 future",
        "site: 2 rows, one per item; 2 static",
        "mmts train experiment.yaml",
    ):
        assert words in done.stdout
    assert "    weather:\n" in (tmp_path / "experiment.yaml").read_text()


@pytest.mark.slow
def test_train_takes_what_init_writes_as_it_is(mmts: Command, tmp_path: Path) -> None:
    frames = make_frames()
    frames["load"].loc[::7, "staff"] = -9999
    write_frames(tmp_path, frames)
    files = [f"{name}.csv" for name in ("load", "weather", "plan", "news", "site")]
    made = mmts("init", *files, "--target", "load", "--horizon", "6h", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    done = mmts(
        "train", "experiment.yaml", "--run-dir", "run", "--set", "training.max_epochs=1",
        "--set", "tracking.enabled=false", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "best.mmts").is_file()


def test_a_horizon_that_is_no_length_is_told_apart_from_one_that_does_not_fit(
    mmts: Command, tmp_path: Path
) -> None:
    write_frames(tmp_path, make_frames())
    for horizon, said in (
        ("2weeks", "--horizon 2weeks: not a length. Write a duration such as 24h or 7d"),
        ("90min", "--horizon 90min: no whole number of rows"),
        ("1mo", "--horizon 1mo: no whole number of rows"),
    ):
        done = mmts("init", "load.csv", "--target", "load", "--horizon", horizon, cwd=tmp_path)
        assert done.returncode == 2
        assert said in done.stderr


def test_files_with_and_without_an_offset_are_brought_together(
    mmts: Command, tmp_path: Path
) -> None:
    frames = make_frames()
    frames["weather"]["time"] = frames["weather"]["time"].dt.tz_localize("UTC")
    write_frames(tmp_path, frames)
    done = mmts("init", "load.csv", "weather.csv", "--target", "load", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "UTC is put down for load" in done.stdout
    checked = mmts("check", "experiment.yaml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
