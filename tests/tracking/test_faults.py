"""Trainings while a real MLflow server, or its database, is killed, frozen, locked or full.

In each the losses and weights are those of an untracked training to the bit, the folder of the run
holds a complete copy, there is one warning, and MLflow has everything exactly once in the end.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mmts.tracking.journal import journal_of
from mmts.tracking.store import create_database, locate_store
from tests.conftest import ROOT, Command
from tests.tracking.faulty_world import (
    EPOCHS,
    Trained,
    assert_copy_is_complete,
    assert_store_holds_all,
    at_the_end_of_epochs,
    look_at,
    sync,
    train_in,
    warnings_in,
)
from tests.tracking.mlflow_server import MlflowServer, mlflow_server

pytestmark = pytest.mark.slow

PATIENCE = 90.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again within a second, and give a call up after two."""
    for name, seconds in {
        "_GATHER": 0.05, "_FIRST_PAUSE": 0.2, "_LONGEST_PAUSE": 0.5, "_OPEN_WAIT": 3.0,
        "_CLOSE_WAIT_AWAY": 1.0,
    }.items():  # fmt: skip
        monkeypatch.setattr(f"mmts.tracking.outbox.{name}", seconds)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")


def wait_for(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def is_at_rest() -> bool:
    """Whether no thread brings anything to MLflow any more."""
    return all(thread.name != "mmts-tracking" for thread in threading.enumerate())


def delivered_up_to_now(run: Path) -> Callable[[], bool]:
    size = (run / "tracking" / "records.jsonl").stat().st_size
    return lambda: journal_of(run).delivered.values >= size


def assert_nothing_is_missing_after_sync(server: MlflowServer, run: Path, folder: Path) -> None:
    """Hold that sync brings all, and that a second one has nothing left to bring."""
    wait_for(is_at_rest)
    synced = sync(run)
    assert (synced.fault, synced.left_out) == (None, ())
    assert_store_holds_all(server.client(), run, folder / "downloaded")
    again = sync(run)
    assert (again.num_values, again.num_files, again.run_id) == (0, 0, synced.run_id)
    assert_store_holds_all(server.client(), run, folder / "downloaded")


def test_a_server_that_works_gets_everything_without_a_sync(
    untracked: Trained, server: MlflowServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = train_in(tmp_path, {"uri": server.uri})
    assert look_at(run) == untracked
    assert warnings_in(caplog) == []
    assert_copy_is_complete(run)
    assert_store_holds_all(server.client(), run, tmp_path / "downloaded")


def test_a_server_that_is_absent_gets_the_whole_run_by_sync(
    untracked: Trained, server: MlflowServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.kill()
    run = train_in(tmp_path, {"uri": server.uri})
    assert look_at(run) == untracked
    (message,) = warnings_in(caplog)
    assert server.uri in message
    assert f"mmts runs sync {run}" in message
    assert_copy_is_complete(run)
    wait_for(is_at_rest)
    assert sync(run).fault is not None  # It is still away.
    server.start()
    assert_nothing_is_missing_after_sync(server, run, tmp_path)


def test_a_server_that_is_killed_and_returns_gets_what_it_missed_while_the_training_goes_on(
    untracked: Trained,
    server: MlflowServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def return_and_wait() -> None:
        server.start()
        wait_for(delivered_up_to_now(tmp_path / "run"))

    at_the_end_of_epochs(monkeypatch, {1: server.kill, 3: return_and_wait})
    run = train_in(tmp_path, {"uri": server.uri})
    assert look_at(run) == untracked
    assert len(warnings_in(caplog)) <= 1
    assert_copy_is_complete(run)
    assert_store_holds_all(server.client(), run, tmp_path / "downloaded")


@pytest.mark.parametrize("epoch", [1, EPOCHS])
def test_a_server_that_is_killed_and_stays_away_gets_the_rest_by_sync(
    epoch: int,
    untracked: Trained,
    server: MlflowServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_the_end_of_epochs(monkeypatch, {epoch: server.kill})
    run = train_in(tmp_path, {"uri": server.uri})
    assert look_at(run) == untracked
    (message,) = warnings_in(caplog)
    assert "does not answer" in message
    assert_copy_is_complete(run)
    server.start()
    assert_nothing_is_missing_after_sync(server, run, tmp_path)


@pytest.mark.parametrize("epoch", range(1, EPOCHS + 1))
def test_a_server_that_freezes_gets_nothing_twice_when_it_goes_on(
    epoch: int,
    untracked: Trained,
    server: MlflowServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_the_end_of_epochs(monkeypatch, {epoch: server.freeze})
    run = train_in(tmp_path, {"uri": server.uri})
    assert look_at(run) == untracked
    assert_copy_is_complete(run)
    # It takes up the calls that were given up meanwhile, too.
    server.go_on()
    assert_nothing_is_missing_after_sync(server, run, tmp_path)


def test_a_server_that_is_frozen_from_the_start_makes_one_run_when_it_goes_on(
    untracked: Trained,
    server: MlflowServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def go_on_and_wait() -> None:
        server.go_on()
        wait_for(delivered_up_to_now(tmp_path / "run"))

    server.freeze()
    at_the_end_of_epochs(monkeypatch, {2: go_on_and_wait})
    run = train_in(tmp_path, {"uri": server.uri})
    assert look_at(run) == untracked
    (message,) = warnings_in(caplog)
    assert "does not answer" in message
    assert_copy_is_complete(run)
    assert_nothing_is_missing_after_sync(server, run, tmp_path)


def test_a_server_that_freezes_while_it_makes_the_run_makes_one(
    untracked: Trained, server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    real, calls = MlflowClient.create_run, []

    def create(client: MlflowClient, *arguments: object, **options: object) -> object:
        calls.append(arguments)
        if len(calls) == 1:
            server.freeze()
            threading.Timer(4.0, server.go_on).start()
        return real(client, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(MlflowClient, "create_run", create)
    run = train_in(tmp_path, {"uri": server.uri})
    assert look_at(run) == untracked
    assert_copy_is_complete(run)
    time.sleep(4.0)
    assert_nothing_is_missing_after_sync(server, run, tmp_path)


def lock(database: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(database, check_same_thread=False, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


def test_a_server_whose_database_is_locked_gets_what_it_missed(
    untracked: Trained, server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[sqlite3.Connection] = []
    at_the_end_of_epochs(monkeypatch, {2: lambda: held.append(lock(server.database))})
    run = train_in(tmp_path, {"uri": server.uri})
    held[0].close()
    assert look_at(run) == untracked
    assert_copy_is_complete(run)
    assert_nothing_is_missing_after_sync(server, run, tmp_path)


def test_a_server_whose_disk_is_full_gets_what_it_missed_when_there_is_room(
    untracked: Trained,
    server: MlflowServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fill() -> None:
        server.kill()
        server.start(largest_file=64 * 1024)

    at_the_end_of_epochs(monkeypatch, {1: fill})
    run = train_in(tmp_path, {"uri": server.uri})
    assert look_at(run) == untracked
    assert len(warnings_in(caplog)) == 1
    assert_copy_is_complete(run)
    wait_for(is_at_rest)
    assert sync(run).fault is not None
    server.kill()
    server.start()
    assert_nothing_is_missing_after_sync(server, run, tmp_path)


def store_of(runs: Path) -> Path:
    """Make the SQLite file of a folder of runs, and return it."""
    store = locate_store(None, runs)
    create_database(store)
    assert store.database is not None
    return store.database


@pytest.mark.parametrize("epoch", [0, 2, EPOCHS])
def test_a_database_that_is_locked_gets_the_run_by_sync(
    epoch: int, untracked: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    database = store_of(tmp_path)
    held = [lock(database)] if epoch == 0 else []
    at_the_end_of_epochs(monkeypatch, {epoch: lambda: held.append(lock(database))})
    monkeypatch.setattr("mmts.tracking.outbox._CLOSE_WAIT", 1.0)
    run = train_in(tmp_path, {})
    assert look_at(run) == untracked
    assert_copy_is_complete(run)
    held[0].close()
    wait_for(is_at_rest)
    assert sync(run).fault is None
    client = MlflowClient(tracking_uri=locate_store(None, tmp_path).uri)
    assert_store_holds_all(client, run, tmp_path / "downloaded")


def test_a_database_that_is_damaged_is_replaced_by_sync_with_the_whole_run(
    untracked: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mmts: Command
) -> None:
    database = store_of(tmp_path)
    at_the_end_of_epochs(monkeypatch, {2: lambda: database.write_bytes(b"no database" * 1000)})
    run = train_in(tmp_path, {})
    assert look_at(run) == untracked
    assert_copy_is_complete(run)
    wait_for(is_at_rest)
    assert sync(run).fault is not None
    for file in tmp_path.glob("mlflow.db*"):
        file.unlink()
    # In a new process: MLflow keeps the old file open in this one.
    done = mmts("runs", "sync", run)
    assert done.returncode == 0, done.stderr
    script = f"""
from pathlib import Path
from mlflow.tracking import MlflowClient
from mmts.tracking.store import locate_store
from tests.tracking.faulty_world import assert_store_holds_all
client = MlflowClient(tracking_uri=locate_store(None, Path({str(tmp_path)!r})).uri)
assert_store_holds_all(client, Path({str(run)!r}), Path({str(tmp_path / "downloaded")!r}))
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


@pytest.mark.parametrize("how", ["FAILED", "KILLED"])
def test_how_a_training_ended_is_told_late_too(
    how: str, server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end() -> None:
        raise KeyboardInterrupt if how == "KILLED" else RuntimeError("a bug")

    server.kill()
    at_the_end_of_epochs(monkeypatch, {2: end})
    with pytest.raises(KeyboardInterrupt if how == "KILLED" else RuntimeError):
        train_in(tmp_path, {"uri": server.uri})
    server.start()
    wait_for(is_at_rest)
    synced = sync(tmp_path / "run")
    assert synced.run_id is not None
    found = server.client().get_run(synced.run_id)
    assert found.info.status == how
    assert found.data.tags.get("error") == (None if how == "KILLED" else "RuntimeError: a bug")


def test_a_sync_that_is_broken_off_at_any_call_sends_nothing_twice(
    server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    server.kill()
    run = train_in(tmp_path, {"uri": server.uri})
    server.start()
    wait_for(is_at_rest)
    # In the order in which a run is told, as what is there is not sent again.
    calls = ("create_run", "log_batch", "log_inputs", "set_tag", "set_terminated", "log_artifact")
    num_broken = 0
    for name in calls:
        for after in (False, True):
            real = getattr(MlflowClient, name)

            def broken(*arguments: object, **options: object) -> object:
                if after:  # noqa: B023
                    real(*arguments, **options)  # noqa: B023
                raise KeyboardInterrupt

            with monkeypatch.context() as patch:
                patch.setattr(MlflowClient, name, broken)
                with pytest.raises(KeyboardInterrupt):
                    sync(run)
            num_broken += 1
    assert num_broken == 2 * len(calls)
    assert_nothing_is_missing_after_sync(server, run, tmp_path)


def test_a_training_that_was_killed_is_synced_as_killed_and_one_that_lives_is_left_alone(
    server: MlflowServer, tmp_path: Path
) -> None:
    server.kill()
    run = train_in(tmp_path, {"uri": server.uri})
    server.start()
    wait_for(is_at_rest)
    journal = journal_of(run)
    lines = journal.path.read_text().splitlines(keepends=True)
    journal.path.write_text("".join(line for line in lines if '"status"' not in line))
    claim = journal.claim()
    assert claim is not None
    with closing(claim):
        assert sync(run).is_in_use
    assert sync(run).run_id is not None
    assert_store_holds_all(server.client(), run, tmp_path / "downloaded")
    assert server.client().get_run(sync(run).run_id or "").info.status == "KILLED"
