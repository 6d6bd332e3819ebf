"""A small world with a search space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmts.tuning.space import SearchedConfig, load_searched_config
from tests.factories import make_settings, write_world

SEARCH = {
    "training.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
    "model.encoders.news.dim": [4, 6],
}


def make_searched_settings(search: dict[str, Any] = SEARCH, **tuning: Any) -> dict[str, Any]:
    """Make the config of a world of two streams and a tiny model, with a search space."""
    settings = make_settings()
    streams = settings["data"]["streams"]
    settings["data"]["streams"] = {name: streams[name] for name in ("load", "news")}
    settings["model"] = {
        "encoders": {
            "load": {"kind": "linear", "dim": 8, "num_layers": 1},
            "news": {"kind": "mlp", "dim": 4, "num_layers": 1},
        },
        "interactions": [{"kind": "residual", "from": "news.1", "to": "load.1"}],
        "head": {"kind": "quantile", "dim": 8},
    }
    settings["training"] |= {"batch_size": 128, "steps_per_epoch": 2}
    settings["tuning"] = {"search": search, **tuning}
    return settings


def write_searched(folder: Path, settings: dict[str, Any]) -> SearchedConfig:
    """Write the world and its config, and load it."""
    return load_searched_config(write_world(folder, settings))
