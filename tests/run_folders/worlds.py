"""Folders of runs made by hand: they hold what a training writes, and nothing was trained."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

SCORES = ("mae", "rmse", "mase", "wql", "coverage", "crps_by_quantiles")


def make_settings(**training: Any) -> dict[str, Any]:
    """Return the part of a resolved config that is looked at."""
    return {
        "name": "demo",
        "data": {
            "horizon": "6h",
            "split": {"validation": 0.7, "test": 0.85},
            "streams": {"load": {"path": "load.csv", "target": ["load"]}, "weather": {}},
        },
        "model": {
            "interactions": [
                {"kind": "residual", "from": "weather.0", "to": "load.1", "name": "one"}
            ],
            "head": {"kind": "quantile", "quantile_levels": [0.1, 0.5, 0.9]},
        },
        "training": {"max_epochs": 4, "patience": 2, **training},
    }


def make_run(
    folder: Path,
    losses: tuple[float, ...] = (0.5, 0.3, 0.2, 0.25, 0.26),
    settings: dict[str, Any] | None = None,
    began: int = 1_700_000_000,
    fingerprint: dict[str, str] | None = None,
) -> Path:
    """Write a run; losses: of validation by epoch, from epoch 0 on. Returns its folder."""
    folder.mkdir(parents=True)
    settings = settings or make_settings()
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    os.utime(config, (began, began))
    for epoch, loss in enumerate(losses):
        line = {"epoch": epoch, "val/loss": loss}
        if epoch:
            line |= {"train/loss": loss + 0.1, "train/windows_per_second": 100.0 * epoch}
        with (folder / "history.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
    if losses:
        best = min(range(len(losses)), key=losses.__getitem__)
        described = {
            "format_version": 8,
            "config": settings,
            "epoch": best,
            "run_id": "abc",
            "fingerprint": fingerprint or {"load": "1", "weather": "2"},
        }
        write_checkpoint(folder / "best.mmts", described)
    return folder


def write_checkpoint(path: Path, described: dict[str, Any]) -> None:
    """Write the header of a checkpoint, with no weights behind it."""
    path.write_bytes(write_header(json.dumps({"__metadata__": {"mmts": json.dumps(described)}})))


def write_header(header: str) -> bytes:
    """Return a header as it stands in a file of safetensors, its length first."""
    return len(header.encode()).to_bytes(8, "little") + header.encode()


def add_evaluation(
    run: Path,
    mae: float,
    variant: str = "",
    epoch: int = 2,
    split: str = "test",
    num_windows: int = 10,
) -> None:
    """Write an evaluation of a run; the errors of its baselines are 4, 3 and 2."""
    errors = {"model": mae, "last value": 4.0, "seasonal naive": 3.0, "ridge": 2.0}
    scores = {
        method: {"all targets": {"overall": dict.fromkeys(SCORES, error), "by_step": []}}
        for method, error in errors.items()
    }
    scores["ridge"]["all targets"]["overall"]["coverage"] = None
    found = {
        "verdict": "beats some",
        "split": split,
        "dates": {split: ["2024-01-01", "2024-02-01"]},
        "num_windows": num_windows,
        "epoch": epoch,
        "scores": scores,
    }
    folder = run / "evaluation" / variant
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(json.dumps(found))
