"""What interactions are worth on real data: presets, joining early, and the best single edge.

python benchmarks/interactions_real.py --data DIR --results interactions_real.json

Every variant of a set has the same number of weights, within 5 %, and takes the same number of
optimiser steps on the same windows; its best epoch, and the best single edge, are chosen on
validation, and the test split is read once. Variants:

none, last, ladder, lowlevel, dense, bottleneck   the presets
early       the columns of all other streams joined to the target's, as they were known by the end
            of each of its rows; what is known ahead is still read by the head, step by step
one_table   the same, and what is known ahead is columns of that table as well: no other stream
single      the best of single edges into the middle of the target's depth, chosen with seed 1

The known future is read by the head in every variant, `none` among them. Finished runs are kept in
the results file, and those that stand there with the same settings are not run again.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from real_runs import Job, Record, ResultsFile, run_job
from real_sets import SETS, load_set
from real_tables import NOTE, Runs, as_markdown, as_text, choice_lines, set_table
from real_variants import SINGLE, VARIANTS, Variant, VariantBuilder

from mmts.data.source_files import fingerprint
from mmts.errors import MmtsError
from mmts.evaluation import BASELINES


def main() -> None:
    """Run what is missing and print the tables."""
    arguments = parse_arguments()
    logging.basicConfig(level=logging.ERROR)
    results = ResultsFile(arguments.results)
    # Read when the processes start: one thread each, as small models want it.
    os.environ["OMP_NUM_THREADS"] = "1"
    by_set: dict[str, Runs] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(
            arguments.jobs, mp_context=multiprocessing.get_context("spawn")
        ) as pool,
    ):
        for name in arguments.sets:
            work = Path(folder) / name
            work.mkdir()
            by_set[name] = run_set(name, work, arguments, results, pool)
    report(by_set, arguments.markdown)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the sets; the demo needs none")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 1")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--max-seconds", type=float, default=180, help="name runs that took longer")
    parser.add_argument(
        "--results", type=Path, default=Path("interactions_real.json"), help="JSON file to go on in"
    )
    parser.add_argument("--markdown", type=Path, help="file for the tables in Markdown")
    parser.add_argument("--set", action="append", default=[], help="change one key of all configs")
    arguments = parser.parse_args()
    away = [name for name in arguments.sets if SETS[name].needs_data]
    if away and (arguments.data is None or not arguments.data.is_dir()):
        parser.error(f"{', '.join(away)} need --data, the folder that holds these sets")
    return arguments


def run_set(
    name: str,
    folder: Path,
    arguments: argparse.Namespace,
    results: ResultsFile,
    pool: ProcessPoolExecutor,
) -> Runs:
    """Run what is missing of one set; returns its runs by variant, in the order of the table."""
    chosen = SETS[name]
    config = load_set(name, arguments.data, folder, arguments.set)
    builder = VariantBuilder(config, chosen.num_weights, folder)
    settings = config.training
    print(
        f"{name}: {settings.max_epochs} epochs of {settings.steps_per_epoch} steps of "
        f"{settings.batch_size} windows; about {chosen.num_weights:,} weights",
        flush=True,
    )
    variants = {wanted: builder.build(wanted) for wanted in arguments.variants}
    files = fingerprint(config.data)
    folders = {"WORK": str(folder), "DATA": str(Path(config.data.root))}

    def job(variant: Variant, seed: int) -> Job:
        plain = variant.config(seed).to_json()
        return Job(name, variant.name, seed, variant.num_weights, plain, files, folders)

    seeds = range(1, arguments.seeds + 1)
    jobs = [Job(name, baseline, 0, 0, config.to_json(), files, folders) for baseline in BASELINES]
    jobs += [
        job(variant, seed)
        for wanted, found in variants.items()
        for variant in found
        for seed in (seeds if wanted != SINGLE else [1])
    ]
    found = run_jobs(jobs, results, pool, arguments.max_seconds)
    if SINGLE in variants:
        tried = {variant.name: found[variant.name][0] for variant in variants[SINGLE]}
        best = min(variants[SINGLE], key=lambda edge: tried[edge.name]["validation_loss"])
        for edge, run in tried.items():
            chosen_mark = "  <- chosen" if edge == best.name else ""
            print(f"  {edge}: validation loss {run['validation_loss']:.4f}{chosen_mark}")
            if edge != best.name:
                found.pop(edge)
        rest = [job(best, seed) for seed in seeds]
        found |= run_jobs(rest, results, pool, arguments.max_seconds)
    return found


def run_jobs(
    jobs: Sequence[Job], results: ResultsFile, pool: ProcessPoolExecutor, max_seconds: float
) -> dict[str, list[Record]]:
    """Run what is not in the results yet; returns all runs by variant, in the order of the jobs."""
    waiting = {pool.submit(run_job, job): job for job in jobs if results.find(job) is None}
    for number, future in enumerate(as_completed(waiting), start=1):
        run = future.result()
        results.add(run)
        slow = f", more than {max_seconds:g}" if run["seconds"] > max_seconds else ""
        print(
            f"  {number}/{len(waiting)} {run['variant']}, seed {run['seed']}: validation MAE "
            f"{run['validation']['mae']:.4f}, {run['seconds']:.0f} s "
            f"({run['cpu_seconds']:.0f} s of CPU){slow}",
            flush=True,
        )
    found: dict[str, list[Record]] = {}
    for job in jobs:
        done = results.find(job)
        assert done is not None
        found.setdefault(job.variant, []).append(done)
    return found


def report(by_set: dict[str, Runs], markdown: Path | None) -> None:
    """Print the tables, and write them in Markdown if asked to."""
    choices = list(choice_lines(by_set))
    for name, runs in by_set.items():
        print(f"\n{name}\n{as_text(set_table(runs))}")
    print("\n" + "\n".join([NOTE, *choices]))
    if markdown is not None:
        parts = [f"### {name}\n\n{as_markdown(set_table(runs))}" for name, runs in by_set.items()]
        markdown.write_text("\n\n".join([*parts, NOTE, *choices]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except MmtsError as error:
        raise SystemExit(str(error)) from None
