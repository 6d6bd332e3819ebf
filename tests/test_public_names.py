"""What `import mmts` offers, and what it costs."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import mmts
from mmts.errors import ConfigError
from tests.conftest import ROOT
from tests.factories import make_frames, make_settings, write_world
from tests.test_house import HEAVY, loaded_after


@pytest.mark.parametrize("name", mmts.__all__)
def test_every_public_name_can_be_had_and_says_what_it_is(name: str) -> None:
    found = getattr(mmts, name)
    assert name == "__version__" or found.__doc__
    assert name in dir(mmts)


def test_an_unknown_name_is_none() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Forcaster'"):
        mmts.Forcaster  # noqa: B018


def test_every_picture_is_a_public_name_of_plots() -> None:
    names = [name for name in mmts.plots.__all__ if name.startswith("plot_")]
    assert {"plot_forecast", "plot_error_by_step", "plot_graph"} <= set(names)
    assert all(getattr(mmts.plots, name).__doc__ for name in names)


def test_the_import_alone_loads_nothing_heavy() -> None:
    heavy = HEAVY | {"torch", "pandas", "numpy", "pydantic"}
    assert not loaded_after("import mmts", *heavy)


def test_a_forecaster_loads_neither_lightning_nor_mlflow_nor_matplotlib() -> None:
    loaded = loaded_after("from mmts import Forecaster", "torch", *HEAVY)
    assert loaded == {"torch"}


def test_pictures_come_without_the_state_of_pyplot() -> None:
    loaded = loaded_after("import mmts; mmts.plots.plot_graph", "matplotlib", "matplotlib.pyplot")
    assert loaded == {"matplotlib"}


def test_a_notebook_trains_by_the_public_names_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_world(tmp_path / "world", make_settings())
    monkeypatch.chdir(tmp_path)
    settings = {"training.steps_per_epoch": 2, "model.linear": None, "data.horizon": "3h"}
    config = mmts.load_config(str(path), settings)
    assert config.training.steps_per_epoch == 2
    result = mmts.train(config)
    (made,) = (tmp_path / "runs").iterdir()
    assert result.folder.resolve() == made
    assert made.name.startswith("small-world-")
    forecaster = mmts.Forecaster.from_checkpoint(result.checkpoint)
    assert len(forecaster.predict(make_frames())) == 2 * 3
    evaluation = mmts.evaluate(forecaster, mmts.load_evaluation_data(forecaster.info))
    assert "ridge" in evaluation.table().index


def test_a_run_may_have_a_folder_named_by_text(tmp_path: Path) -> None:
    path = write_world(tmp_path / "world", make_settings())
    config = mmts.load_config(path, ["training.steps_per_epoch=1", "model.linear=null"])
    result = mmts.train(config, f"{tmp_path}/own")
    assert result.checkpoint == tmp_path / "own" / "best.mmts"
    assert result.checkpoint.is_file()


def test_overrides_are_as_on_the_command_line_or_a_mapping(tmp_path: Path) -> None:
    path = write_world(tmp_path / "world", make_settings())
    by_lines = mmts.load_config(path, ["training.batch_size=32", "seed=3"])
    by_mapping = mmts.load_config(path, {"training.batch_size": 32, "seed": 3})
    assert by_lines == by_mapping
    assert mmts.load_config(path, "seed=3").seed == 3
    with pytest.raises(ConfigError, match=r"training\.batch_sise: unknown key"):
        mmts.load_config(path, {"training.batch_sise": 32})
    with pytest.raises(ConfigError, match=r"override seed\.x: seed holds no settings"):
        mmts.load_config(path, {"seed.x": 1})


def test_figures_show_themselves_in_a_notebook(trained: Path) -> None:
    forecaster = mmts.Forecaster.from_checkpoint(trained)
    frames = make_frames()
    forecast = forecaster.predict(frames)
    history = mmts.plots.extract_history(forecaster, forecast, frames)
    assert history["timestamp"].dtype == forecast["timestamp"].dtype
    figure = mmts.plots.plot_forecast(forecast, history)
    assert figure._repr_png_().startswith(b"\x89PNG")
    graph = mmts.plots.plot_graph(forecaster.info.config.model, forecaster.model)
    assert graph._repr_png_().startswith(b"\x89PNG")


def test_several_origins_are_drawn_in_a_panel_each(trained: Path) -> None:
    forecaster = mmts.Forecaster.from_checkpoint(trained)
    frames = make_frames(("north",))
    origins = pd.date_range("2024-01-10", periods=2, freq="D")
    forecast = forecaster.predict(frames, origins)
    history = mmts.plots.extract_history(forecaster, forecast, frames)
    figure = mmts.plots.plot_forecast(forecast, history)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["north, from 2024-01-10 00:00", "north, from 2024-01-11 00:00"]


def test_a_program_beside_a_folder_of_the_same_name_finds_the_package(tmp_path: Path) -> None:
    # As a checkout has by default, which hides an editable installation. Where this fails, the
    # environment was not made by `make setup`.
    (tmp_path / "mmts" / "mmts").mkdir(parents=True)
    code = "import mmts.pipelines.main; from mmts import Forecaster, plots; print(mmts.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == ROOT / "mmts" / "__init__.py"


def test_training_speaks_by_the_log_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_world(tmp_path / "world", make_settings())
    config = mmts.load_config(path, {"training.steps_per_epoch": 1, "training.max_epochs": 2})
    with caplog.at_level(logging.INFO, "mmts"):
        mmts.train(config, tmp_path / "run")
    assert capsys.readouterr().out == ""
    assert "fitting the linear path on" in caplog.text
    first, last = (line for line in caplog.messages if line.startswith("epoch "))
    assert ", at most " in first
    assert "at most" not in last
