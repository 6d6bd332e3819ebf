"""Other sets of the families of the accuracy benchmark, found in the folder of the data.

The same protocols and the same recipe for files of the same layout, such as ETTh2, the price of
another market, another domain of Time-MMD or another county. Nothing was published for them here,
so that only the baselines stand beside ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
from accuracy_sets import FAMILIES, AccuracySet

from mmts.errors import DataError

DAILY_STEPS = (48, 96, 192, 336)
"""As Time-MMD has them (arXiv 2406.08627), behind 96 days."""

PAST_ONLY, KNOWN_FUTURE = "past only", "known future"


def find_sets(family: str, names: list[str], data: Path) -> dict[str, AccuracySet]:
    """Return the sets of these names: those of the tables, or files of the folder.

    Raises DataError that names all for which there is neither.
    """
    known, found, problems = FAMILIES[family], {}, []
    for name in names:
        try:
            found[name] = known[name] if name in known else _FINDERS[family](name, data)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join([*problems, f"Known sets of {family}: {', '.join(known)}."]))
    return found


def _find_ett(name: str, data: Path) -> AccuracySet:
    path = _require(name, data, f"ett/{name}.csv")
    known = FAMILIES["ett"]["ETTh1" if _step_of(path) == pd.Timedelta(hours=1) else "ETTm1"]
    columns = _columns_beside(path, "date")
    return _as(known, f"transformer.path=ett/{name}.csv", f"transformer.target={columns}")


def _find_epf(name: str, data: Path) -> AccuracySet:
    market, _, track = name.partition(", ")
    if track not in (PAST_ONLY, KNOWN_FUTURE):
        raise DataError(f"{name}: name the track as well: {name}, {PAST_ONLY}.")
    path = _require(name, data, f"epf/{market}.csv")
    paths = (f"{stream}.path=epf/{market}.csv" for stream in ("price", "ahead"))
    ahead = f"ahead.future={_columns_beside(path, 'date', 'OT')}"
    # Of as many rows as there are, a fifth is tested.
    return replace(_as(FAMILIES["epf"][f"NP, {track}"], *paths, ahead), num_windows={})


def _find_time_mmd(name: str, data: Path) -> AccuracySet:
    path = _require(name, data, f"time_mmd/{name}.csv")
    days = _step_of(path) / pd.Timedelta(days=1)
    if days > 27:
        return _with_file("Climate", name, "past=[]")
    weekly = _with_file("Energy", name)
    if days == 7:
        return weekly
    if days == 1:
        return replace(
            _as(
                weekly,
                f"{weekly.target}.context_length=96",
                "calendar={calendar: [weekday, time_of_year], context_length: 96}",
            ),
            horizons=DAILY_STEPS,
        )
    raise DataError(f"{path}: a row every {days:g} days; Time-MMD has days, weeks and months.")


def _with_file(domain: str, name: str, *changes: str) -> AccuracySet:
    """Return a domain's set with the file of another, of which the target alone is read.

    changes: of its target stream, which keeps its name.
    """
    known = FAMILIES["time_mmd"][domain]
    paths = (f"{stream}.path=time_mmd/{name}.csv" for stream in (known.target, "reports"))
    return _as(known, *paths, *(f"{known.target}.{change}" for change in changes))


def _find_epa_air(name: str, data: Path) -> AccuracySet:
    _require(name, data, f"epa_air/{name}/time_series.csv")
    return _as(
        FAMILIES["epa_air"]["Denver"],
        f"air.path=epa_air/{name}/time_series.csv",
        f"news.path=epa_air/{name}/text.csv",
    )


_FINDERS: dict[str, Callable[[str, Path], AccuracySet]] = {
    "ett": _find_ett,
    "epf": _find_epf,
    "time_mmd": _find_time_mmd,
    "epa_air": _find_epa_air,
}


def _as(known: AccuracySet, *changes: str) -> AccuracySet:
    """Return a known set with other data, for which nothing was published."""
    whole = (f"data.streams.{change}" for change in changes)
    return replace(known, changes=(*known.changes, *whole), marks={})


def _require(name: str, data: Path, place: str) -> Path:
    if not (data / place).is_file():
        raise DataError(f"{name}: no such set; {data / place} would hold it, and is not there.")
    return data / place


def _columns_beside(path: Path, *names: str) -> str:
    """Return the other columns of a file, as a list of YAML."""
    columns = (column.strip() for column in pd.read_csv(path, nrows=0))
    return json.dumps([column for column in columns if column not in names])


def _step_of(path: Path) -> pd.Timedelta:
    """Return the most frequent time from row to row."""
    dates = pd.to_datetime(pd.read_csv(path, usecols=["date"])["date"]).drop_duplicates()
    return pd.Timedelta(dates.sort_values().diff().mode().iloc[0])
