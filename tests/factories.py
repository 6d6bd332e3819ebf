"""Small worlds to test on: streams of three rates, lengths and widths, and configs for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

ITEMS = ("north", "south")
START = pd.Timestamp("2024-01-01")
DAYS = 16


def make_frames(items: tuple[str, ...] = ITEMS, days: int = DAYS) -> dict[str, pd.DataFrame]:
    """Make the five streams of a small world as data frames.

    load: hourly target with gaps. weather: every three hours, two columns. plan: hourly, known
    ahead, one number and one category. news: daily, shared by all items. site: static.
    """
    random = np.random.default_rng(0)
    hours = pd.date_range(START, periods=24 * days, freq="h")
    frames: dict[str, list[pd.DataFrame]] = {"load": [], "weather": [], "plan": [], "site": []}
    for place, item in enumerate(items):
        planned = random.integers(0, 5, len(hours) + 48).astype(float)
        daily = np.sin(2 * np.pi * hours.hour.to_numpy() / 24)
        load = 50 + 10 * place + 8 * daily + 3 * planned[: len(hours)]
        load += random.normal(0, 1, len(hours))
        load[random.random(len(hours)) < 0.1] = np.nan
        frames["load"].append(
            pd.DataFrame(
                {"time": hours, "item": item, "load": load, "staff": planned[: len(hours)]}
            )
        )
        slots = pd.date_range(START, periods=8 * days, freq="3h")
        frames["weather"].append(
            pd.DataFrame(
                {
                    "time": slots,
                    "item": item,
                    "temperature": random.normal(10, 5, len(slots)),
                    "wind": random.gamma(2, 2, len(slots)),
                }
            )
        )
        ahead = pd.date_range(START, periods=24 * days + 48, freq="h")
        frames["plan"].append(
            pd.DataFrame(
                {
                    "time": ahead,
                    "item": item,
                    "planned": planned,
                    "shift": np.where(ahead.hour < 12, "early", "late"),
                }
            )
        )
        frames["site"].append(
            pd.DataFrame({"item": [item], "area": [100.0 + place], "region": [f"r{place}"]})
        )
    made = {name: pd.concat(parts, ignore_index=True) for name, parts in frames.items()}
    dates = pd.date_range(START, periods=days, freq="D")
    made["news"] = pd.DataFrame({"time": dates, "mood": random.normal(0, 1, len(dates))})
    return made


def write_frames(folder: Path, frames: dict[str, pd.DataFrame]) -> None:
    """Write every stream as CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in frames.items():
        frame.to_csv(folder / f"{name}.csv", index=False)


def make_settings() -> dict[str, Any]:
    """Make the config of the small world: every role, encoder and kind of interaction."""
    return {
        "name": "small-world",
        "seed": 1,
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
                    "context_length": "18h",
                    "delay": "2h",
                },
                "plan": {
                    "path": "plan.csv",
                    "time": "time",
                    "item": "item",
                    "future": ["planned", "shift"],
                    "category": ["shift"],
                    "context_length": "12h",
                },
                "news": {"path": "news.csv", "time": "time", "context_length": "4d"},
                "site": {
                    "path": "site.csv",
                    "item": "item",
                    "static": ["area", "region"],
                    "category": ["region"],
                },
            },
        },
        "model": {
            "encoders": {
                "load": {"kind": "patch", "dim": 16, "num_layers": 3, "patch_length": 4},
                "weather": {"kind": "conv", "dim": 8, "num_layers": 2, "layer_dims": [8, 12]},
                "plan": {"kind": "conv", "dim": 8, "num_layers": 1},
                "news": {"kind": "mlp", "dim": 6, "num_layers": 1},
                "site": {"kind": "mlp", "dim": 4, "num_layers": 1},
            },
            "interactions": [
                {"kind": "residual", "from": "load.0", "to": "load.3"},
                {"kind": "residual", "from": "plan.1", "to": "load.1"},
                {
                    "kind": "weighted",
                    "from": ["load.1", "weather.2", "news.1", "site.1"],
                    "to": "load.3",
                },
                {"kind": "attention", "from": "weather.1", "to": "load.2"},
            ],
            "head": {"kind": "quantile", "dim": 16},
        },
        "training": {"max_epochs": 1, "batch_size": 64},
        "tracking": {"enabled": False},
    }


ENCODERS: list[dict[str, Any]] = [
    {"kind": "patch", "patch_length": 4},
    {"kind": "conv"},
    {"kind": "recurrent"},
    {"kind": "linear"},
    {"kind": "mlp"},
    {"kind": "variate"},
]
"""All kinds but that of texts, of which the small world has none: an MLP with a bottleneck."""


def with_encoder(encoder: dict[str, Any]) -> list[str]:
    """Return what changes the config of the small world to an encoder of a kind, of two streams."""
    settings = json.dumps(encoder | {"dim": 8, "num_layers": 3})
    return [f"model.encoders.{stream}={settings}" for stream in ("load", "plan")]


def with_edges(kind: str) -> list[str]:
    """Return what changes the config of the small world to edges of a kind, from all streams."""
    sources = ("weather.1", "news.1", "site.1", "plan.1")
    edges = [{"kind": kind, "from": [source], "to": "load.2"} for source in sources]
    return [f"model.interactions={json.dumps(edges)}"]


def make_stopping_settings() -> dict[str, Any]:
    """Make the config of a quick training that stops early, after the fifth epoch of six.

    The third is the best. An epoch has more steps than a round. Everything that a training keeps
    from step to step is there: dropout, weight averaging, a linear path, an edge with a running
    mean, and a calibration at the end.
    """
    settings = make_settings()
    streams = settings["data"]["streams"]
    settings["data"]["streams"] = {name: streams[name] for name in ("load", "weather")}
    settings["data"]["streams"]["load"]["context_length"] = "12h"
    settings["model"] = {
        "encoders": {
            "load": {"kind": "mlp", "dim": 8, "num_layers": 1},
            "weather": {"kind": "conv", "dim": 4, "num_layers": 1},
        },
        "interactions": [{"kind": "attention", "from": "weather.1", "to": "load.1"}],
        "head": {"kind": "quantile", "dim": 8},
    }
    settings["training"] = {
        "max_epochs": 6, "patience": 2, "batch_size": 8, "steps_per_epoch": 18,
        "learning_rate": 0.1, "log_every_n_steps": 3, "accelerator": "cpu",
    }  # fmt: skip
    settings["calibration"] = {}
    return settings


def add_words(frames: dict[str, pd.DataFrame], settings: dict[str, Any]) -> None:
    """Put prose, a flag, a hashed category and the calendar into the small world, in place."""
    said = ["storm ahead", "calm and dry", "storm over", "dry"]
    days = range(len(frames["news"]))
    frames["news"] = frames["news"].assign(
        body=[said[day % len(said)] for day in days], urgent=[day % 3 == 0 for day in days]
    )
    streams = settings["data"]["streams"]
    streams["news"] |= {
        "past": ["mood"], "flag": ["urgent"], "text": ["body"],
        "text_features": {"kind": "tfidf", "dim": 3},
    }  # fmt: skip
    streams["plan"]["hash_buckets"] = {"shift": 4}
    streams["calendar"] = {"calendar": ["hour", "weekday", "time_of_day"], "context_length": "6h"}
    settings["model"]["encoders"]["calendar"] = {"kind": "mlp", "dim": 4, "num_layers": 1}


def write_world(folder: Path, settings: dict[str, Any] | None = None) -> Path:
    """Write streams and config of the small world; returns the path of the config."""
    write_frames(folder, make_frames())
    return write_config(folder, settings or make_settings())


def write_config(folder: Path, settings: dict[str, Any]) -> Path:
    """Write a config; returns its path."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    return path
