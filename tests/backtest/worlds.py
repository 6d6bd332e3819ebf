"""Small trained models for the tests of a backtest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmts.config import load_config
from mmts.data.dataset import Dataset
from mmts.evaluation import load_evaluation_data
from mmts.experiment import train
from mmts.forecasting import Forecaster
from tests.factories import DAYS, START, make_frames, write_config, write_frames

HORIZON = pd.Timedelta(hours=6)

LAST = START + pd.Timedelta(days=DAYS) - HORIZON
"""The last cut-off that the data allow."""


def tiny_settings() -> dict[str, Any]:
    """Make the config of a model that trains in a second."""
    return {
        "name": "tiny",
        "data": {
            "horizon": "6h",
            "streams": {
                "load": {
                    "path": "load.csv",
                    "time": "time",
                    "item": "item",
                    "target": ["load"],
                    "past": ["staff"],
                    "context_length": "24h",
                },
                "weather": {
                    "path": "weather.csv",
                    "time": "time",
                    "item": "item",
                    "context_length": "9h",
                    "delay": "2h",
                },
                "plan": {
                    "path": "plan.csv",
                    "time": "time",
                    "item": "item",
                    "future": ["planned"],
                    "context_length": "6h",
                },
            },
        },
        "model": {
            "encoders": {
                "load": {"kind": "linear", "dim": 4, "num_layers": 1},
                "weather": {"kind": "mlp", "dim": 4, "num_layers": 1},
                "plan": {"kind": "mlp", "dim": 4, "num_layers": 1},
            },
            "interactions": [
                {"kind": "residual", "from": "plan.0", "to": "load.1"},
                {"kind": "residual", "from": "weather.0", "to": "load.1"},
            ],
            "head": {"kind": "quantile", "dim": 4},
        },
        "training": {"max_epochs": 1, "batch_size": 64},
        "tracking": {"enabled": False},
    }


def train_tiny(
    folder: Path,
    frames: dict[str, pd.DataFrame] | None = None,
    settings: dict[str, Any] | None = None,
) -> Path:
    """Write data and config into a folder, and train; returns the checkpoint."""
    write_frames(folder / "world", frames or make_frames())
    config = load_config(write_config(folder / "world", settings or tiny_settings()))
    return train(config, folder / "run").checkpoint


def opened(checkpoint: Path) -> tuple[Forecaster, Dataset]:
    """Return a checkpoint with its data."""
    forecaster = Forecaster.from_checkpoint(checkpoint)
    return forecaster, load_evaluation_data(forecaster.info)


def overwrite_unknown(
    frames: dict[str, pd.DataFrame], cutoff: pd.Timestamp, keep_plan: bool = True
) -> dict[str, pd.DataFrame]:
    """Fill everything that is not available at a cut-off with noise.

    keep_plan: whether what is planned over the horizon stays, as a forecast may read it.
    """
    hour = pd.Timedelta(hours=1)
    ahead = cutoff + HORIZON if keep_plan else cutoff
    unknown = {
        "load": frames["load"]["time"] + hour > cutoff,
        "weather": frames["weather"]["time"] + 3 * hour + 2 * hour > cutoff,
        "plan": frames["plan"]["time"] >= ahead,
    }
    random = np.random.default_rng(1)
    noisy = {}
    for name, rows in unknown.items():
        noisy[name] = frames[name].copy()
        for column in noisy[name].select_dtypes("number"):
            noisy[name].loc[rows, column] = random.normal(1e3, 1e3, int(rows.sum()))
    return {**frames, **noisy}
