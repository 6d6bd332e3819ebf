"""Runs beside each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmts.run_folders.comparison import ABSENT, Comparison, compare_runs
from mmts.run_folders.folder import read_run
from tests.run_folders.worlds import add_evaluation, make_run, make_settings


def compare(tmp_path: Path, other: dict[str, Any], **given: Any) -> Comparison:
    one = make_run(tmp_path / "one")
    two = make_run(tmp_path / "two", settings=other, **given)
    return compare_runs([read_run(one), read_run(two)])


def test_runs_that_are_the_same_differ_in_nothing(tmp_path: Path) -> None:
    found = compare(tmp_path, make_settings())
    assert found.config == {}
    assert found.notes == ()
    assert found.metrics["validation loss"] == (0.2, 0.2)


def test_keys_that_differ_are_named_by_their_path(tmp_path: Path) -> None:
    other = make_settings(patience=3, learning_rate=0.01)
    found = compare(tmp_path, other)
    assert found.config == {
        "training.patience": (2, 3),
        "training.learning_rate": (ABSENT, 0.01),
    }
    assert found.to_json()["config"]["training.learning_rate"] == [None, 0.01]
    assert json.dumps(found.to_json(), allow_nan=False)


def test_edges_are_compared_by_name_and_not_by_place(tmp_path: Path) -> None:
    other = make_settings()
    edges = other["model"]["interactions"]
    new = {"kind": "attention", "from": "weather.1", "to": "load.1", "name": "two"}
    edges.insert(0, new)
    edges[1]["kind"] = "film"
    found = compare(tmp_path, other)
    assert found.config == {
        "model.interactions.one.kind": ("residual", "film"),
        "model.interactions.two": (ABSENT, new | {}),
    }


def test_all_edges_against_none(tmp_path: Path) -> None:
    other = make_settings()
    other["model"]["interactions"] = []
    found = compare(tmp_path, other)
    assert list(found.config) == ["model.interactions.one"]


def test_metrics_of_every_evaluation_stand_beside_each_other(tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "one"), make_run(tmp_path / "two", (0.5, 0.1))
    add_evaluation(one, 1.5)
    add_evaluation(two, 1.2, epoch=1)
    add_evaluation(two, 1.1, "calibrated", epoch=1)
    found = compare_runs([read_run(one), read_run(two)])
    assert found.metrics["test: MAE"] == (1.5, 1.2)
    assert found.metrics["test, calibrated: MAE"] == (None, 1.1)
    assert found.metrics["test: MAE of ridge"] == (2.0, 2.0)
    assert found.metrics["best epoch"] == (2, 1)
    assert found.notes == ()


def test_what_forbids_to_compare_is_said(tmp_path: Path) -> None:
    other = make_settings()
    other["data"]["horizon"] = "12h"
    other["data"]["streams"]["load"]["target"] = ["price"]
    one = make_run(tmp_path / "one")
    two = make_run(tmp_path / "two", settings=other, fingerprint={"load": "9", "weather": "2"})
    add_evaluation(one, 1.5)
    add_evaluation(two, 1.5, epoch=1, num_windows=8)
    notes = compare_runs([read_run(one), read_run(two)]).notes
    assert len(notes) == 5
    assert "the targets differ (load.load; load.price)" in notes[0]
    assert notes[1].startswith("data.horizon differ: the validation losses")
    assert notes[2] == "the data of load are not the same in all runs"
    assert notes[3].startswith("test: other windows were evaluated: ")
    assert "two: test: of epoch 1, and best.mmts is of epoch 2" in notes[4]
