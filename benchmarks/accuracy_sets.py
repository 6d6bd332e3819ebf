"""The sets of the accuracy benchmark: what the protocol asks for, and what others have published.

A set is one series, or one track of it, at several horizons. Its data stand in a config of the
project; the model is the default recipe, of which a set changes context, horizon and batch size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Scores = tuple[float, float]
"""MSE and MAE, of standardised values."""

MEAN = "mean"
"""Stands among the horizons for the average over them."""

ETT_STEPS = (96, 192, 336, 720)
WEEKLY_STEPS, MONTHLY_STEPS = (12, 24, 36, 48), (6, 8, 10, 12)

CHEAP_EPOCHS = ("training.batch_size=64", "training.steps_per_epoch=100")
"""Small batches, as a CPU wants them, and validation after 100 steps, each epoch taking other
windows; testing leaves no window out."""

SHORT_CALENDAR = ("data.streams.calendar.context_length=24",)
"""Of what can be known of any hour, a day behind the origin is enough."""


@dataclass(frozen=True)
class AccuracySet:
    """One row of tables.

    config: its data, in the project. target: the stream that holds the target. horizons: in steps.
    changes: of the config, as by `--set`. recipe: the same, of the model's training alone.
    num_windows: of the test split by horizon, as the protocol gives it.
    marks: of others, by name and horizon. reproduces: the mark that the shipped ridge is to give
    again. known_future: for EPF, whether exogenous values are known over the horizon.
    """

    config: str
    target: str
    horizons: tuple[int, ...]
    changes: tuple[str, ...] = ()
    recipe: tuple[str, ...] = ()
    num_windows: Mapping[int, int] = field(default_factory=dict)
    marks: Mapping[str, Mapping[int | str, Scores]] = field(default_factory=dict)
    known_future: bool = True


RIDGE_MARK = "ridge, published"


def _by_horizon(horizons: tuple[int, ...], *scores: Scores) -> dict[int | str, Scores]:
    return dict(zip(horizons, scores, strict=True))


def _ett(
    name: str, num_windows: tuple[int, ...], ridge: list[Scores], duet: list[Scores]
) -> AccuracySet:
    return AccuracySet(
        f"configs/benchmarks/ett_{name}.yaml",
        target="transformer",
        horizons=ETT_STEPS,
        changes=SHORT_CALENDAR,
        recipe=CHEAP_EPOCHS,
        num_windows=dict(zip(ETT_STEPS, num_windows, strict=True)),
        marks={
            RIDGE_MARK: _by_horizon(ETT_STEPS, *ridge),
            "DUET, published": _by_horizon(ETT_STEPS, *duet),
        },
    )


def _epf(name: str, known_future: bool, **marks: Scores) -> AccuracySet:
    return AccuracySet(
        f"configs/benchmarks/epf_{name}.yaml",
        target="price",
        horizons=(24,),
        changes=SHORT_CALENDAR,
        recipe=CHEAP_EPOCHS,
        num_windows={24: 10_460},
        marks={f"{label}, published": {24: scores} for label, scores in marks.items()},
        known_future=known_future,
    )


def _time_mmd(
    domain: str, target: str, horizons: tuple[int, ...], ridge: Scores, aurora: Scores
) -> AccuracySet:
    return AccuracySet(
        f"configs/benchmarks/time_mmd_{domain.lower()}.yaml",
        target=target,
        horizons=horizons,
        # Of a thousand rows and fewer, batches of the usual size would make four steps an epoch.
        recipe=("training.batch_size=32",),
        marks={RIDGE_MARK: {MEAN: ridge}, "Aurora, published": {MEAN: aurora}},
    )


def _epa_air(county: str) -> AccuracySet:
    # A set of its own, cut by its own rows: one county ends before the tests of all would begin.
    return AccuracySet(
        "configs/benchmarks/epa_air.yaml",
        target="air",
        horizons=(24,),
        changes=(
            f"data.streams.air.path=epa_air/{county}/time_series.csv",
            f"data.streams.news.path=epa_air/{county}/text.csv",
            "data.streams.air.target=[temp, pm2_5, aqi, ozone]",
            "data.streams.air.past=[]",
            "data.streams.calendar.context_length=24h",
        ),
        recipe=CHEAP_EPOCHS,
    )


FAMILIES: dict[str, dict[str, AccuracySet]] = {
    "ett": {
        "ETTh1": _ett(
            "h1",
            (2785, 2689, 2545, 2161),
            [(0.370, 0.391), (0.403, 0.411), (0.428, 0.426), (0.434, 0.450)],
            [(0.352, 0.384), (0.398, 0.409), (0.414, 0.426), (0.429, 0.455)],
        ),
        "ETTm1": _ett(
            "m1",
            (11425, 11329, 11185, 10801),
            [(0.301, 0.343), (0.336, 0.363), (0.370, 0.383), (0.426, 0.416)],
            [(0.279, 0.333), (0.320, 0.358), (0.348, 0.377), (0.405, 0.408)],
        ),
    },
    "epf": {
        "NP, past only": _epf("np", False, TimeXer=(0.236, 0.268)),
        "DE, past only": _epf("de", False, TimeXer=(0.440, 0.415)),
        "NP, known future": _epf("np", True, ridge=(0.214, 0.251), DAG=(0.202, 0.237)),
        "DE, known future": _epf("de", True, ridge=(0.351, 0.371), DAG=(0.277, 0.322)),
    },
    "time_mmd": {
        "Energy": _time_mmd("Energy", "gasoline", WEEKLY_STEPS, (0.234, 0.350), (0.230, 0.329)),
        "Health": _time_mmd("Health", "illness", WEEKLY_STEPS, (1.426, 0.811), (1.343, 0.776)),
        "Climate": _time_mmd(
            "Climate", "precipitation", MONTHLY_STEPS, (1.180, 0.889), (0.862, 0.746)
        ),
    },
    "epa_air": {county: _epa_air(county) for county in ("Denver", "Los_Angeles", "Richmond")},
}
