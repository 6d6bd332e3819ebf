"""A small training under faults of MLflow, and what has to hold of it whatever they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mmts.config import load_config
from mmts.experiment import train
from mmts.run_folders.history import read_history
from mmts.tracking.journal import Journal, journal_of
from mmts.tracking.sync import Synced, sync_runs
from mmts.training.callbacks import EpochLog
from tests.factories import make_settings, write_world

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient
    from torch import Tensor

EPOCHS = 4


@dataclass(frozen=True)
class Trained:
    """What does not depend on where a training was tracked: weights, and losses by epoch."""

    weights: dict[str, Tensor]
    losses: list[tuple[int, float | None, float]]

    def __eq__(self, other: object) -> bool:
        """Compare to the bit."""
        assert isinstance(other, Trained)
        same = all(weight.equal(other.weights[name]) for name, weight in self.weights.items())
        return same and self.weights.keys() == other.weights.keys() and self.losses == other.losses


def settings_of(tracking: dict[str, Any]) -> dict[str, Any]:
    settings = make_settings()
    settings["model"]["interactions"] = settings["model"]["interactions"][:1]
    settings["training"] = {
        "max_epochs": EPOCHS, "batch_size": 32, "steps_per_epoch": 3, "log_every_n_steps": 1,
    }  # fmt: skip
    return settings | {"tracking": tracking}


def train_in(folder: Path, tracking: dict[str, Any]) -> Path:
    """Train in `folder/run`; returns that folder."""
    config = load_config(write_world(folder / "world", settings_of(tracking)))
    return train(config, folder / "run").folder


def look_at(run: Path) -> Trained:
    from safetensors.torch import load_file

    epochs = read_history(run / "history.jsonl")
    losses = [(epoch.number, epoch.train_loss, epoch.validation_loss) for epoch in epochs]
    return Trained(load_file(run / "best.mmts"), losses)


def at_the_end_of_epochs(
    monkeypatch: pytest.MonkeyPatch, faults: dict[int, Callable[[], object]]
) -> None:
    """Let something happen when an epoch, counted from 1, has been written down."""
    real = EpochLog.on_train_epoch_end

    def end(log: EpochLog, trainer: Any, module: Any) -> None:
        real(log, trainer, module)
        faults.get(trainer.current_epoch + 1, lambda: None)()

    monkeypatch.setattr(EpochLog, "on_train_epoch_end", end)


def records_of(run: Path, kind: str) -> list[dict[str, Any]]:
    return [record for record, _ in journal_of(run).read() if record["record"] == kind]


def assert_copy_is_complete(run: Path, status: str = "FINISHED") -> None:
    """Hold that the folder alone tells everything that the run page would."""
    metrics = metrics_of(journal_of(run))
    assert [step for step, _, _ in metrics["train/loss_step"]] == list(range(1, 3 * EPOCHS + 1))
    for epoch in read_history(run / "history.jsonl"):
        losses = {step: value for step, _, value in metrics["val/loss"]}
        assert losses[epoch.number] == epoch.validation_loss
    assert [record["status"] for record in records_of(run, "status")] == [status]
    params = {key for record in records_of(run, "params") for key in record["values"]}
    assert {"seed", "horizon", "max_epochs", "edges"} <= params
    tags = {key for record in records_of(run, "tags") for key in record["values"]}
    assert {"target", "data", "command", "device"} <= tags
    assert len(records_of(run, "dataset")) == 5
    assert {record["heading"] for record in records_of(run, "section")} == {"Training", "Verdict"}
    files = {Path(record["path"]).name for record in records_of(run, "file")}
    assert files == {
        "config.yaml", "environment.json", "best.mmts", "history.jsonl", "learning.png",
        "data.png", "graph.png",
    }  # fmt: skip
    for record in records_of(run, "file"):
        assert (run / "tracking" / record["path"]).stat().st_size > 0


def metrics_of(journal: Journal) -> dict[str, list[tuple[int, int, float]]]:
    """Return step, time and value of each point, by name."""
    found = defaultdict(list)
    for record, _ in journal.read():
        if record["record"] == "metrics":
            for key, value in record["values"].items():
                found[key].append((record["step"], record["time"], float(value)))
    return {key: sorted(points) for key, points in found.items()}


def assert_store_holds_all(client: MlflowClient, run: Path, folder: Path) -> None:
    """Hold that MLflow has what the folder has, each point once; folder: to download to."""
    journal = journal_of(run)
    run_id = journal.delivered.run_id
    assert run_id is not None
    found = client.get_run(run_id)
    metrics = metrics_of(journal)
    assert set(found.data.metrics) == set(metrics)
    for key, points in metrics.items():
        history = client.get_metric_history(run_id, key)
        assert sorted((p.step, p.timestamp, p.value) for p in history) == points, key
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    for record, _ in journal.read():
        if record["record"] == "params":
            params |= record["values"]
        elif record["record"] == "tags":
            tags |= record["values"]
    assert found.data.params == params
    assert tags.items() <= found.data.tags.items()
    # An evaluation writes the verdict anew.
    said = {record["heading"]: record["body"] for record in records_of(run, "section")}
    for heading, body in said.items():
        assert f"## {heading}\n\n{body}" in found.data.tags["mlflow.note.content"]
    assert found.info.status == records_of(run, "status")[-1]["status"]
    assert found.inputs is not None
    names = sorted(given.dataset.name for given in found.inputs.dataset_inputs)
    assert names == sorted(record["name"] for record in records_of(run, "dataset"))
    folder.mkdir(parents=True, exist_ok=True)
    for record in records_of(run, "file"):
        mine = run / "tracking" / record["path"]
        path = "/".join(filter(None, [record["folder"], mine.name]))
        theirs = Path(client.download_artifacts(run_id, path, str(folder)))
        assert theirs.read_bytes() == mine.read_bytes(), path
    (begin,) = records_of(run, "run")
    tagged = client.search_runs(
        [found.info.experiment_id], f"tags.`mmts.journal` = '{begin['id']}'"
    )
    assert len(tagged) == 1


def sync(run: Path) -> Synced:
    (synced,) = sync_runs(run)
    return synced


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("mmts.tracking") and record.levelname == "WARNING"
    ]
