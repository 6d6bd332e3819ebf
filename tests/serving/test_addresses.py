"""Checkpoints by their address in MLflow, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from mmts.errors import CheckpointError, TrackingError
from mmts.forecasting import Forecaster
from mmts.serving.addresses import bring_checkpoint, load_forecaster
from mmts.tracking.config import TrackingConfig
from mmts.tracking.run import start_run
from mmts.tracking.store import locate_store
from tests.factories import make_frames
from tests.serving.conftest import Registry


@pytest.fixture(scope="module")
def run_id(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a run that keeps the checkpoint, and one file that only has its name."""
    broken = tmp_path_factory.mktemp("broken") / "broken.mmts"
    broken.write_bytes(b"nothing")
    run = start_run(
        TrackingConfig(),
        experiment="load",
        run_name="b",
        folder=registry.runs / "b",
        store=registry.runs,
    )
    run.log_file(registry.checkpoint)
    run.log_file(broken, "others")
    run.finish("FINISHED")
    assert run.run_id is not None
    return run.run_id


def test_alias_version_and_run_lead_to_the_same_weights(registry: Registry, run_id: str) -> None:
    frames = make_frames()
    expected = Forecaster.from_checkpoint(registry.checkpoint).predict(frames)
    for address in (
        "models:/small-world@champion",
        "models:/small-world/1",
        f"runs:/{run_id}/best.mmts",
        f"runs:/{run_id}",
    ):
        forecast = load_forecaster(address, registry.store).predict(frames)
        pd.testing.assert_frame_equal(forecast, expected, check_exact=True)


def test_a_checkpoint_is_brought_into_a_folder_of_runs(registry: Registry, tmp_path: Path) -> None:
    file = bring_checkpoint("models:/small-world@champion", registry.store, tmp_path)
    assert file == tmp_path / "small-world-v1" / "best.mmts"
    assert file.read_bytes() == registry.checkpoint.read_bytes()
    written = file.stat().st_mtime_ns
    assert bring_checkpoint("models:/small-world/1", registry.store, tmp_path) == file
    assert file.stat().st_mtime_ns == written


def refused(address: str, registry: Registry) -> str:
    with pytest.raises(TrackingError) as caught:
        load_forecaster(address, registry.store)
    said = str(caught.value)
    assert said.startswith(f"{address}: ")
    return said


def test_a_store_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    store = locate_store(None, tmp_path / "runs")
    with pytest.raises(TrackingError, match=r"mlflow.db does not exist.*--runs.*--uri"):
        load_forecaster("models:/load@champion", store)
    assert not list(tmp_path.iterdir())


def test_an_unknown_name_gets_the_nearest_one(registry: Registry) -> None:
    said = refused("models:/smal-world@champion", registry)
    assert "has no registered model 'smal-world'; did you mean 'small-world'?" in said


def test_an_unknown_alias_or_version_gets_what_there_is(registry: Registry) -> None:
    there = "Versions: 1. Aliases: champion (version 1)."
    said = refused("models:/small-world@best", registry)
    assert said.endswith(f"it has no alias 'best'. {there}")
    said = refused("models:/small-world/7", registry)
    assert said.endswith(f"it has no version 7. {there}")
    said = refused("models:/small-world", registry)
    assert said.endswith(f"name a version or an alias of it. {there}")


def test_a_version_older_than_those_that_are_listed_is_found(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MlflowClient, "search_model_versions", lambda *_, **__: [])
    assert load_forecaster("models:/small-world/1", registry.store) is not None


@pytest.mark.parametrize("address", ["models:a", "models:/a/b/c", "models:/", "runs:/", "runs:"])
def test_an_address_of_another_form_gets_the_forms(address: str, registry: Registry) -> None:
    assert "models:/NAME@ALIAS, models:/NAME/VERSION" in refused(address, registry)


def test_an_unknown_run_or_file_is_named(registry: Registry, run_id: str) -> None:
    assert "has no run 'abc'" in refused("runs:/abc/best.mmts", registry)
    said = refused(f"runs:/{run_id}/last.mmts", registry)
    assert said.endswith(f"run {run_id} keeps no last.mmts. It has best.mmts.")


def test_a_broken_checkpoint_is_called_by_its_address(registry: Registry, run_id: str) -> None:
    address = f"runs:/{run_id}/others/broken.mmts"
    with pytest.raises(CheckpointError) as caught:
        load_forecaster(address, registry.store)
    assert str(caught.value).startswith(f"{address}: not a checkpoint of mmts")


def test_a_model_of_another_kind_is_refused(registry: Registry, run_id: str) -> None:
    client = MlflowClient(registry.store.uri, registry.store.uri)
    client.create_registered_model("foreign")
    client.create_model_version("foreign", source=f"runs:/{run_id}/others", run_id=run_id)
    assert "holds no checkpoint of mmts" in refused("models:/foreign/1", registry)
