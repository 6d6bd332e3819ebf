"""How accurate the default recipe is on public data, beside baselines and published figures.

python benchmarks/accuracy.py ett|epf|time_mmd|epa_air --data DIR --results accuracy.json

The split, the windows, the scale and the measures are those of the literature; every test window
is scored, and the command ends when there are more or fewer than the protocol has. Nothing is
chosen on the test split. The model is the default recipe; `--config-set` changes it, and nothing
else. Training on the larger sets is validated after 100 steps; each epoch takes other windows.

ett       four horizons, seven columns, context 336
epf       the price a day ahead, in two tracks: exogenous values of the past only, or known ahead
time_mmd  with the texts of the rows, without, with shuffled and with empty ones; all read the
          same numbers, the seasonal prior among them
epa_air   temperature, PM2.5, AQI and ozone of three counties, most of them rarely measured

`--sets` takes others of a family, too, whose files lie in the folder in the same layout: ETTh2,
"PJM, known future", another domain or county.

Finished runs are kept in the results file, and those with the same settings are not run again
unless the recipe has changed since.
`accuracy_document.py` writes the tables of docs/accuracy.md from them.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from accuracy_data import (
    EMPTY,
    NO_TEXT,
    PRIOR,
    SHUFFLED,
    TEXT,
    PreparedSet,
    filled_stream,
    prepare,
    with_texts,
)
from accuracy_others import find_sets
from accuracy_runs import (
    CHOSEN_RIDGE,
    EXOGENOUS_RIDGE,
    FILLED_RIDGE,
    FIXED_RIDGE,
    LAST_VALUE,
    MODEL,
    OWN_RIDGE,
    SEASONAL_NAIVE,
    SEASONAL_PRIOR,
    AccuracyJob,
    is_current,
    run_accuracy_job,
)
from accuracy_sets import FAMILIES
from accuracy_tables import NOTE, Runs, reproduction_line, set_table, target_table
from real_runs import Job, ResultsFile
from real_tables import as_text

from mmts.config import ExperimentConfig
from mmts.data.source_files import fingerprint
from mmts.errors import DataError, MmtsError

TEXT_ARMS = (NO_TEXT, TEXT, SHUFFLED, EMPTY)


def main() -> None:
    """Run what is missing and print the tables."""
    arguments = parse_arguments()
    logging.basicConfig(level=logging.ERROR)
    results = ResultsFile(arguments.results)
    # Read when the processes start: one thread each, as small models want it.
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        jobs = []
        for name, chosen in arguments.sets.items():
            work = Path(folder) / name.replace(" ", "-").replace(",", "")
            work.mkdir()
            jobs += list(list_jobs(prepare(name, chosen, arguments.data, work), arguments))
        with ProcessPoolExecutor(arguments.jobs, mp_context=context) as pool:
            run_jobs(jobs, results, pool)
    report(arguments, {name: collect(name, jobs, results) for name in arguments.sets})


def parse_arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the sets")
    parser.add_argument(
        "--sets",
        nargs="+",
        help="some of the family, such as ETTh1, or others whose files lie there, such as ETTh2",
    )
    parser.add_argument("--horizons", nargs="+", type=int, help="in steps; by default all")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 1")
    parser.add_argument("--baselines-only", action="store_true", help="train no model")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument(
        "--config-set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one key of the model's configs, such as training.max_epochs=5",
    )
    parser.add_argument(
        "--results", type=Path, default=Path("accuracy.json"), help="JSON file to go on in"
    )
    arguments = parser.parse_args(given)
    if not arguments.data.is_dir():
        parser.error(f"--data: {arguments.data} is no folder; name the one that holds the sets")
    names = arguments.sets or list(FAMILIES[arguments.family])
    try:
        arguments.sets = find_sets(arguments.family, names, arguments.data)
    except DataError as error:
        parser.error(f"--sets: {error}")
    offered = sorted({h for chosen in arguments.sets.values() for h in chosen.horizons})
    arguments.horizons = arguments.horizons or offered
    unoffered = [str(horizon) for horizon in arguments.horizons if horizon not in offered]
    if unoffered:
        parser.error(f"--horizons: {', '.join(unoffered)} are not among {offered}")
    if arguments.seeds < 1 or arguments.jobs < 1:
        parser.error("--seeds and --jobs are 1 at least")
    return arguments


def list_jobs(prepared: PreparedSet, arguments: argparse.Namespace) -> Iterator[AccuracyJob]:
    """Yield all runs of a set, the baselines first."""
    for horizon in prepared.chosen.horizons:
        if horizon in arguments.horizons:
            for arm, config in baseline_configs(prepared, horizon, arguments.family):
                yield _job(prepared, horizon, arm, 0, config, arguments.data)
    if arguments.baselines_only:
        return
    for horizon in prepared.chosen.horizons:
        for seed in range(1, arguments.seeds + 1) if horizon in arguments.horizons else ():
            for arm, config in model_configs(prepared, horizon, seed, arguments):
                yield _job(prepared, horizon, arm, seed, config, arguments.data)


def baseline_configs(
    prepared: PreparedSet, horizon: int, family: str
) -> Iterator[tuple[str, ExperimentConfig]]:
    """Yield the baselines of a set, each with the streams that it reads."""
    texts, calendar = prepared.streams("text"), prepared.streams("calendar")
    alone = prepared.config(horizon, without=[*texts, *calendar, PRIOR])
    yield LAST_VALUE, alone
    yield SEASONAL_NAIVE, alone
    if family == "time_mmd":
        yield SEASONAL_PRIOR, prepared.config(horizon, without=[*texts, *calendar])
    if prepared.chosen.marks:
        yield FIXED_RIDGE, alone
    if family == "epf":
        yield EXOGENOUS_RIDGE, alone
    else:
        yield OWN_RIDGE, alone
    yield CHOSEN_RIDGE, prepared.config(horizon, without=texts)
    if family == "epa_air":
        yield FILLED_RIDGE, prepared.config(horizon, filled_stream(prepared), without=texts)


def model_configs(
    prepared: PreparedSet, horizon: int, seed: int, arguments: argparse.Namespace
) -> Iterator[tuple[str, ExperimentConfig]]:
    """Yield the model's arms: one, and where rows hold prose, one for each control."""
    changes = [*prepared.chosen.recipe, *arguments.config_set]
    config = prepared.config(horizon, *changes, seed=seed)
    if arguments.family != "time_mmd":
        yield MODEL, config
        return
    without = prepared.streams("text")
    for arm in TEXT_ARMS:
        if arm == NO_TEXT:
            yield arm, prepared.config(horizon, *changes, without=without, seed=seed)
        else:
            yield arm, with_texts(config, arm, prepared.folder)


def _job(
    prepared: PreparedSet, horizon: int, arm: str, seed: int, config: ExperimentConfig, data: Path
) -> AccuracyJob:
    plain = config.to_json()
    if seed == 0:
        # No word about the model decides over a baseline.
        plain = {key: plain[key] for key in ("name", "data", "tracking")}
    folders = {"WORK": str(prepared.folder), "DATA": str(data.resolve())}
    job = Job(
        f"{prepared.name}, {horizon} steps", arm, seed, 0, plain, fingerprint(config.data), folders
    )
    return AccuracyJob(job, prepared, horizon)


def run_jobs(jobs: Sequence[AccuracyJob], results: ResultsFile, pool: ProcessPoolExecutor) -> None:
    """Run what is not in the results yet."""
    waiting = [pool.submit(run_accuracy_job, asked) for asked in jobs if is_missing(asked, results)]
    try:
        for number, future in enumerate(as_completed(waiting), start=1):
            run = future.result()
            results.add(run)
            print(
                f"  {number}/{len(waiting)} {run['set']}: {run['variant']}, seed {run['seed']}: "
                f"test {run['test']['mse']:.4f}/{run['test']['mae']:.4f}, {run['seconds']:.0f} s",
                flush=True,
            )
    finally:
        for future in waiting:
            future.cancel()


def is_missing(asked: AccuracyJob, results: ResultsFile) -> bool:
    """Tell whether there is no run of these settings by the recipe as it is."""
    run = results.find(asked.job)
    return run is None or not is_current(run)


def collect(name: str, jobs: Sequence[AccuracyJob], results: ResultsFile) -> Runs:
    """Return the runs of a set by arm and horizon, in the order of the jobs."""
    found: dict[str, dict[int, list[dict[str, object]]]] = {}
    for asked in jobs:
        if asked.prepared.name == name:
            run = results.find(asked.job)
            assert run is not None
            found.setdefault(asked.job.variant, {}).setdefault(asked.horizon, []).append(run)
    return found


def report(arguments: argparse.Namespace, by_set: dict[str, Runs]) -> None:
    """Print the tables."""
    texts, lines = [], []
    for name, runs in by_set.items():
        chosen = arguments.sets[name]
        tables = [set_table(chosen, runs)]
        if arguments.family == "epa_air":
            # Measured at rates of their own, so that the pooled errors are nearly those of one.
            tables.append(target_table(runs))
        texts.append("\n\n".join([name, *map(as_text, tables)]))
        line = reproduction_line(name, chosen, runs)
        lines += [line] if line else []
    notes = [NOTE, *lines]
    print("\n" + "\n\n".join([*texts, "\n".join(notes)]))


if __name__ == "__main__":
    try:
        main()
    except MmtsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
