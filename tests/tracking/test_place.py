"""A store that a checkpoint alone names is not asked, whichever kind it is."""

from __future__ import annotations

import json
import logging
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mmts.errors import TrackingError
from mmts.tracking.config import TrackingConfig
from mmts.tracking.journal import Journal, journal_of
from mmts.tracking.place import find_trusted_store, store_of
from mmts.tracking.run import reopen_run, start_run
from mmts.tracking.sync import sync_runs
from tests.tracking.fake_server import FakeServer

OWN, OTHER = "a" * 32, "b" * 32


def begin(folder: Path, config: TrackingConfig, store: Path) -> None:
    """Write the journal of a training, and bring nothing to any store."""
    journal = journal_of(folder)
    journal.begin()
    journal.append(
        {
            "record": "run", "id": OWN, "experiment": "load", "name": "first", "tags": {},
            "time": 0, "continues": None, "uri": config.uri, "store": str(store),
        }
    )  # fmt: skip


def add_to(run: Path, uri: str | None, run_id: str | None) -> bool:
    """Add to a run as `mmts evaluate` does; returns whether that was recorded."""
    again = reopen_run(TrackingConfig(uri=uri), run_id, folder=run, store=run.parent)
    again.log_metrics({"test/mae": 1.0}, 0)
    again.finish("FINISHED")
    return again.is_tracked


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        yield listener


@pytest.mark.parametrize("run_id", [None, OTHER])
@pytest.mark.parametrize("scheme", ["http", "postgresql+pg8000", "mysql+pymysql", "databricks"])
@pytest.mark.parametrize("is_beside_own_run", [True, False])
def test_a_host_that_a_checkpoint_alone_names_is_not_asked(
    tmp_path: Path,
    listener: socket.socket,
    caplog: pytest.LogCaptureFixture,
    scheme: str,
    run_id: str | None,
    is_beside_own_run: bool,
) -> None:
    run = tmp_path / "runs" / "one"
    if is_beside_own_run:
        begin(run, TrackingConfig(), run.parent)
    with caplog.at_level(logging.WARNING, logger="mmts"):
        assert not add_to(run, f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/x", run_id)
    with pytest.raises(TimeoutError):
        listener.accept()
    # Where nobody knows of a run, nothing would have been recorded anyhow.
    is_told = is_beside_own_run or run_id is not None
    assert ("is not told of this: the checkpoint names it" in caplog.text) == is_told


@pytest.mark.parametrize("run_id", [None, OTHER])
@pytest.mark.parametrize("is_beside_own_run", [True, False])
def test_no_table_is_made_in_a_database_that_a_checkpoint_alone_names(
    tmp_path: Path, run_id: str | None, is_beside_own_run: bool
) -> None:
    run, database = tmp_path / "runs" / "one", tmp_path / "bookmarks.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE bookmarks (address)")
    before = database.read_bytes()
    if is_beside_own_run:
        begin(run, TrackingConfig(), run.parent)
    for uri in (f"sqlite:///{database}", str(tmp_path / "folder"), f"file://{tmp_path}/folder"):
        assert not add_to(run, uri, run_id)
    assert database.read_bytes() == before
    assert not (tmp_path / "folder").exists()


def test_what_an_earlier_version_wrote_for_a_lone_checkpoint_makes_no_store_trusted(
    tmp_path: Path,
) -> None:
    uri = "http://127.0.0.1:9"
    journal = journal_of(tmp_path)
    journal.begin()
    journal.append({"record": "run", "continues": OTHER, "uri": uri, "store": ".."})
    assert find_trusted_store(TrackingConfig(uri=uri), tmp_path, tmp_path.parent) is None
    assert find_trusted_store(TrackingConfig(), tmp_path, tmp_path.parent) is not None


def test_the_server_of_a_training_is_told_by_its_folder_and_by_that_of_a_study(
    tmp_path: Path,
) -> None:
    server, run = FakeServer(), tmp_path / "one"
    try:
        config = TrackingConfig(uri=server.uri)
        first = start_run(
            config, experiment="load", run_name="first", folder=run, store=tmp_path
        )  # fmt: skip
        first.finish("FINISHED")
        assert first.run_id == "r1"
        for run_id in ("r1", None):
            assert add_to(run, server.uri, run_id)
        # The best checkpoint of a study is that of a trial, which is another run.
        assert add_to(run, server.uri, OTHER)
    finally:
        server.stop()
    assert [metric["key"] for metric in server.metrics].count("test/mae") == 2


def test_a_run_is_looked_for_where_its_training_kept_it(tmp_path: Path) -> None:
    # As the models of a backtest, which lie deeper than the runs beside which the store is.
    run = tmp_path / "runs" / "one" / "backtest" / "models" / "20240101"
    begin(run, TrackingConfig(), Path("../../../.."))
    found = find_trusted_store(TrackingConfig(), run, run.parent)
    assert found is not None
    assert found.database == tmp_path / "runs" / "mlflow.db"


def test_a_study_that_goes_on_in_another_store_belongs_there(tmp_path: Path) -> None:
    study = tmp_path / "study"
    begin(study, TrackingConfig(), tmp_path)
    uri = f"sqlite:///{tmp_path}/other.db"
    journal = journal_of(study)
    journal.append({"record": "resumed", "tags": {}, "uri": uri, "store": ".."})
    assert store_of(journal).uri == uri
    found = find_trusted_store(TrackingConfig(uri=uri), study, tmp_path)
    assert found is not None
    assert found.uri == uri
    assert find_trusted_store(TrackingConfig(), study, tmp_path) is None


def test_a_damaged_journal_hides_no_other_when_runs_are_synced(tmp_path: Path) -> None:
    server, config = FakeServer(), TrackingConfig(uri="http://127.0.0.1:9")
    try:
        for name in ("a", "b", "c", "d"):
            begin(tmp_path / name, TrackingConfig(uri=server.uri), tmp_path)
        (tmp_path / "a" / "tracking" / "records.jsonl").write_text("[" * 100_000 + "\n")
        with (tmp_path / "b" / "tracking" / "records.jsonl").open("a") as file:
            file.write('{"record": "metrics"}\n' + "[" * 100_000 + "\n")
        (tmp_path / "c" / "tracking" / "mlflow.json").write_text("[" * 100_000)
        found = {synced.folder.name: synced for synced in sync_runs(tmp_path)}
    finally:
        server.stop()
    assert "does not begin with a run, and is damaged" in (found["a"].fault or "")
    assert [found[name].fault for name in ("b", "c", "d")] == [None] * 3
    # Nor does one that begins with what is none hold up a command that adds to its run.
    assert not add_to(tmp_path / "a", config.uri, None)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[" * 100_000,
        json.dumps({"record": "tags", "values": {}}),
        json.dumps({"record": "run", "uri": 5, "store": ".."}),
        json.dumps({"record": "run", "uri": "http://127.0.0.1:9", "store": ["a"]}),
    ],
)
def test_a_journal_that_does_not_tell_makes_no_store_trusted(tmp_path: Path, line: str) -> None:
    journal = Journal(tmp_path / "tracking", tmp_path)
    journal.begin()
    journal.path.write_text(f"{line}\n")
    with pytest.raises(TrackingError, match="does not begin with a run"):
        store_of(journal)
    config = TrackingConfig(uri="http://127.0.0.1:9")
    assert find_trusted_store(config, tmp_path, tmp_path.parent) is None
