"""The real sets on which interactions are compared, and the budget that each of them gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mmts.config import ExperimentConfig, load_config

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class RealSet:
    """One set and its budget, which is the same for every variant.

    config: the experiment, in the project. changes: of it, as by `--set`. num_weights: that every
    variant has, or nearly. num_epochs, steps_per_epoch: all of these steps are taken, and the
    epoch is chosen on validation.
    needs_data: whether its files are not part of the project.
    """

    config: str
    changes: tuple[str, ...] = ()
    num_weights: int = 100_000
    num_epochs: int = 5
    steps_per_epoch: int = 100
    batch_size: int = 64
    learning_rate: float = 2e-3
    needs_data: bool = True


# A stream that the head reads step by step has a token an hour, and these are what a step costs:
# of what is known ahead, and of the calendar, the last days are enough.
EPF_CONTEXTS = ("data.streams.ahead.context_length=72", "data.streams.calendar.context_length=24")

SETS = {
    "epf_np": RealSet("configs/benchmarks/epf_np.yaml", EPF_CONTEXTS),
    "epf_de": RealSet("configs/benchmarks/epf_de.yaml", EPF_CONTEXTS),
    "demo": RealSet("configs/nyc_departures.yaml", needs_data=False),
    "epa_air": RealSet(
        "configs/benchmarks/epa_air.yaml", ("data.streams.calendar.context_length=24h",)
    ),
}

# Pollutants of the EPA set, each in a stream on its own clock: what they look back on, and how.
POLLUTANTS = {
    "pm2_5": ("7d", "{kind: conv, dim: 16, num_layers: 2}"),
    "aqi": ("14d", "{kind: conv, dim: 16, num_layers: 2}"),
    "ozone": ("28d", "{kind: mlp, dim: 16, num_layers: 2}"),
}


def load_set(
    name: str, data: Path | None, folder: Path, overrides: Sequence[str] = ()
) -> ExperimentConfig:
    """Return the resolved config of a set with its budget.

    data: folder of the sets that are not part of the project. folder: where files may be written
    that a set needs besides. overrides: as of `--set`, the last word.
    """
    chosen = SETS[name]
    changes = [
        *chosen.changes,
        f"training.max_epochs={chosen.num_epochs}",
        # Nobody stops early, as the learning rate would be left half-way.
        f"training.patience={chosen.num_epochs}",
        f"training.steps_per_epoch={chosen.steps_per_epoch}",
        f"training.batch_size={chosen.batch_size}",
        f"training.learning_rate={chosen.learning_rate}",
        "training.accelerator=cpu",
        # All streams are there in test; to be ready for one that is not has a price.
        "model.stream_dropout=0",
        # It reads all streams by itself: here they can meet nowhere but where a variant says.
        "model.linear=null",
        # The runs that are kept were trained before there was a mean of weights; all alike.
        "training.weight_averaging=null",
        "tracking={enabled: false}",
        "tuning=null",
    ]
    if data is not None and chosen.needs_data:
        changes.append(f"data.root={data.resolve()}")
        if name == "epa_air":
            changes += split_pollutants(data / "epa_air", folder)
    return load_config(ROOT / chosen.config, [*changes, *overrides])


def split_pollutants(source: Path, folder: Path) -> list[str]:
    """Write each pollutant to a file of the rows that hold it; returns the changes of the config.

    In the set's own files it stands in hourly rows, nearly all of them empty. On its own clock a
    value that speaks of a day counts as known when that day is over, and not an hour after it
    began.
    """
    frames = [
        pd.read_csv(path).assign(county=path.parent.name)
        for path in sorted(source.glob("*/time_series.csv"))
    ]
    table = pd.concat(frames, ignore_index=True)
    changes = ["data.streams.air.past=[]"]
    for name, (context, encoder) in POLLUTANTS.items():
        path = folder / f"{name}.csv"
        table[["date_time", "county", name]].dropna().to_csv(path, index=False)
        changes += [
            f"data.streams.{name}={{path: {path}, time: date_time, item: county, past: [{name}], "
            f"context_length: {context}}}",
            f"model.encoders.{name}={encoder}",
        ]
    return changes
