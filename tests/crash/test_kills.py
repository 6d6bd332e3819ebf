"""`kill -9` at any moment of a training, again and again, until it comes to its end.

    pytest tests/crash                     # 20 kills
    pytest tests/crash --kills 200
    pytest tests/crash --kill-seed 7       # other moments; a failure names its seed

What is there in the end has to be what a training leaves that was never killed.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mmts.checkpoint import read_info
from mmts.run_folders.history import read_history
from mmts.tracking.store import create_database, locate_store
from mmts.training.state import RESUME, read_state
from tests.crash.victim import MAIN, SENDER, Doom, live
from tests.factories import make_stopping_settings, write_world

LIMIT = 300.0
TIMED = ("train/windows_per_second", "train/wait_share")
"""Of an epoch, what tells of the machine."""


@dataclass
class Life:
    """One run folder and the processes that trained in it.

    moments: of the last process that came to its end, by thread. seconds: that it took.
    """

    config: Path
    folder: Path
    kills: list[str] = field(default_factory=list)
    moments: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def told(self) -> Path:
        return self.folder.parent / "told.txt"

    def go_on(self, doom: Doom | None = None, seconds: float | None = None) -> bool:
        """Train until the end, or until death; returns whether it came to its end."""
        if (self.folder / RESUME).exists():
            arguments = ["train", "--resume", str(self.folder)]
        else:
            arguments = ["train", str(self.config), "--run-dir", str(self.folder)]
        began = time.monotonic()
        process = multiprocessing.get_context("forkserver").Process(
            target=live, args=(arguments, doom, self.told)
        )
        process.start()
        process.join(LIMIT if seconds is None else seconds)
        if process.is_alive():
            process.kill()
            process.join()
            assert seconds is not None, f"hangs: {self.told.read_text()}"
        if process.exitcode == -signal.SIGKILL:
            self.kills.append(f"after {seconds:.2f} s" if doom is None else str(doom))
            return False
        assert process.exitcode == 0, self.told.read_text()
        self.seconds = time.monotonic() - began
        self.moments = Counter(json.loads(self.told.with_suffix(".json").read_text()))
        return True


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty database of MLflow: to build one takes longer than to train."""
    folder = tmp_path_factory.mktemp("store")
    create_database(locate_store(None, folder))
    return folder / "mlflow.db"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = make_stopping_settings() | {"tracking": {}}
    settings["training"]["keep_state_every"] = "0s"
    return write_world(tmp_path_factory.mktemp("data") / "world", settings)


@pytest.fixture(scope="module")
def forks() -> Iterator[None]:
    """Let processes be forked from one that has imported everything, and has no threads."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            patch.setenv(name, "1")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.crash.victim"])
        yield


def begin(config: Path, store: Path, folder: Path) -> Life:
    folder.mkdir()
    shutil.copy(store, folder / "mlflow.db")
    return Life(config, folder / "run")


@pytest.fixture(scope="module")
def unharmed(
    forks: None, config: Path, store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Life:
    """Return a life without a death; the first process also imports what was not yet."""
    life = begin(config, store, tmp_path_factory.mktemp("unharmed") / "runs")
    assert life.go_on()
    return life


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(path)
    return found


def facts_of(path: Path) -> dict[str, Any]:
    return read_info(path).model_copy(update={"run_id": None}).model_dump(mode="json")


def metrics_of(life: Life) -> dict[str, list[tuple[int, float | None]]]:
    """Return what MLflow has of the only run, which is finished; values of time are left out."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{life.folder.parent / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'small-world'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_id == read_state(life.folder).state.run_id
    return {
        key: sorted(
            (point.step, None if key in TIMED else point.value)
            for point in client.get_metric_history(run.info.run_id, key)
        )
        for key in run.data.metrics
        if not key.startswith("system/")
    }


def assert_whole(folder: Path) -> None:
    """Hold that what a killed training has left can be read."""
    for name in ("best.mmts", "last.mmts"):
        if (folder / name).exists():
            read_info(folder / name)
            weights_of(folder / name)
    read_history(folder / "history.jsonl")
    if (folder / RESUME).exists():
        read_state(folder)


def assert_same(life: Life, unharmed: Life) -> None:
    for name in ("best.mmts", "last.mmts"):
        own, other = (weights_of(run.folder / name) for run in (life, unharmed))
        assert own.keys() == other.keys()
        assert [key for key in own if not torch.equal(own[key], other[key])] == []
        assert facts_of(life.folder / name) == facts_of(unharmed.folder / name)
    histories = [
        [(epoch.number, epoch.train_loss, epoch.validation_loss) for epoch in found]
        for found in (read_history(run.folder / "history.jsonl") for run in (life, unharmed))
    ]
    assert histories[0] == histories[1]
    states = [
        read_state(run.folder).state.model_dump(exclude={"run_id", "seconds"})
        for run in (life, unharmed)
    ]
    assert states[0] == states[1]
    assert metrics_of(life) == metrics_of(unharmed)


def draw(rng: random.Random, unharmed: Life, is_first: bool) -> tuple[Doom | None, float | None]:
    """Return when the next process dies: at a moment of one of its threads, or after a while.

    The first one dies anywhere; those that go on have less before them, and die sooner.
    """
    part = 1.0 if is_first else 1 / 3
    how = rng.choices(["moment", "sending", "time"], [5, 2, 3])[0]
    if how == "time":
        return None, rng.uniform(0, part * unharmed.seconds)
    thread = MAIN if how == "moment" else SENDER
    moment = rng.randint(1, max(1, round(part * unharmed.moments[thread])))
    return Doom(thread, moment, torn=rng.random()), None


@pytest.mark.slow
def test_a_training_that_is_killed_again_and_again_leaves_what_one_leaves_that_was_not(
    unharmed: Life, config: Path, store: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    wanted, seed = pytestconfig.getoption("kills"), pytestconfig.getoption("kill_seed")
    num_kills = num_lives = 0
    while num_kills < wanted:
        name = f"{seed}.{num_lives}"
        rng = random.Random(name)
        life = begin(config, store, tmp_path / name)
        most = min(rng.randint(3, 8), wanted - num_kills)
        has_ended = False
        while not has_ended and len(life.kills) < most:
            has_ended = life.go_on(*draw(rng, unharmed, is_first=not life.kills))
            assert_whole(life.folder)
        if not has_ended:
            assert life.go_on()
        print(f"life {name}: killed at {'; '.join(life.kills) or 'no time'}")
        assert_same(life, unharmed)
        num_kills += len(life.kills)
        num_lives += 1
        shutil.rmtree(life.folder.parent)
    print(f"{num_kills} kills in {num_lives} trainings of {unharmed.moments} moments")
