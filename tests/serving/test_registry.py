"""Registering: versions, aliases, the run; and what happens when it cannot be done."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mmts.errors import CheckpointError, TrackingError
from mmts.serving.registry import register_checkpoint, require_names
from mmts.tracking.config import TrackingConfig
from mmts.tracking.run import start_run
from mmts.tracking.store import locate_store
from tests.serving.conftest import NAME, Registry


def client_of(registry: Registry) -> MlflowClient:
    return MlflowClient(registry.store.uri, registry.store.uri)


def test_a_version_tells_what_it_forecasts_and_from_which_columns(registry: Registry) -> None:
    version = client_of(registry).get_model_version(NAME, registry.made.version)
    assert version.description.startswith("Forecasts **load**, 6 steps ahead.")
    assert "| plan | time, item, planned, shift (category) |" in version.description
    assert registry.made.address == f"models:/{NAME}@champion"


def test_versions_count_up_and_the_alias_moves(registry: Registry) -> None:
    first, second = (
        register_checkpoint(registry.checkpoint, "moving", registry.store, "newest")
        for _ in range(2)
    )
    assert (first.version, second.version) == ("1", "2")
    client = client_of(registry)
    assert client.get_registered_model("moving").aliases == {"newest": 2}
    third = register_checkpoint(registry.checkpoint, "moving", registry.store)
    assert third.address == "models:/moving/3"
    assert client.get_registered_model("moving").aliases == {"newest": 2}


def test_the_model_stands_on_the_page_of_its_run(registry: Registry) -> None:
    run = start_run(
        TrackingConfig(),
        experiment="load",
        run_name="a",
        folder=registry.runs / "a",
        store=registry.runs,
    )
    run.log_params({"seed": 3})
    run.finish("FINISHED")
    assert run.run_id is not None
    made = register_checkpoint(registry.checkpoint, "with-run", registry.store, run_id=run.run_id)
    client = client_of(registry)
    version = client.get_model_version(made.name, made.version)
    assert version.run_id == run.run_id
    found = client.get_run(run.run_id)
    (output,) = found.outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert logged.status == "READY"
    assert logged.experiment_id == found.info.experiment_id
    assert logged.params == {"seed": "3"}
    assert found.info.status == "FINISHED"


def test_a_run_that_the_store_does_not_have_is_told(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mmts"):
        made = register_checkpoint(
            registry.checkpoint, "without-run", registry.store, run_id="0" * 32
        )
    assert "the model is registered without one" in caplog.text
    assert not client_of(registry).get_model_version(made.name, made.version).run_id


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "two words", "a@b", "..", "it's"])
def test_a_name_that_could_not_be_addressed_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="cannot name a registered model"):
        register_checkpoint(tmp_path / "none.mmts", name, locate_store(None, tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("alias", ["", "two words", "latest", "v3", "a/b"])
def test_an_alias_that_mlflow_refuses_is_refused_before(alias: str) -> None:
    with pytest.raises(TrackingError, match="cannot be an alias"):
        require_names("load", alias)


def test_both_faults_are_told_at_once() -> None:
    with pytest.raises(TrackingError) as caught:
        require_names("a/b", "latest")
    assert len(str(caught.value).splitlines()) == 2


def test_a_version_whose_alias_is_refused_is_named(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise MlflowException("the alias is full")

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", refuse)
    with pytest.raises(TrackingError, match=r"version 1 of half is registered, but without its al"):
        register_checkpoint(registry.checkpoint, "half", registry.store, "newest")
    assert str(client_of(registry).get_model_version("half", "1").version) == "1"


def test_what_is_no_checkpoint_is_not_registered(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "best.mmts"
    file.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="not a checkpoint of mmts"):
        register_checkpoint(file, "nothing", registry.store)
    names = [model.name for model in client_of(registry).search_registered_models()]
    assert "nothing" not in names


def test_a_server_that_is_down_is_told_within_seconds(trained: Path) -> None:
    store = locate_store("http://ann:hunter22@127.0.0.1:9", Path("runs"))
    before = trained.read_bytes()
    with pytest.raises(TrackingError) as caught:
        register_checkpoint(trained, "load", store)
    assert str(caught.value).startswith("MLflow at http://127.0.0.1:9: ")
    assert "hunter22" not in str(caught.value)
    assert trained.read_bytes() == before
