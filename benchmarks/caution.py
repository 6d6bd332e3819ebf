"""How far to go from the linear path: chosen on a part of validation, and judged on the rest.

python benchmarks/caution.py --data DIR --results caution.json     # trains; some hours of a core
python benchmarks/caution.py --table                               # from what was kept

Of each model the losses on validation are kept by sixths of the split, in order of time, for each
share of the network that is offered. Then some sixths choose, with more or less caution, and others
judge; the test split is not read. Printed is the loss where it was judged, of that of the linear
path with the spread that the choosing sixths prefer: below 1 the network helps, and the less the
better. `least loss` has no caution.

earlier half     chooses, and the later half judges, as it is with forecasts
either half      and the other way round
a third          chooses, and the other two judge
two thirds       choose, and the other judges
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch
from accuracy_data import prepare
from accuracy_sets import FAMILIES
from real_runs import Record, ResultsFile
from real_tables import as_text
from torch import Tensor

from mmts.config import ExperimentConfig
from mmts.data.dataset import Dataset, load_dataset
from mmts.experiment import train
from mmts.forecasting import Forecaster
from mmts.linear.share import CAUTION, NetworkShare

RESULTS = Path(__file__).resolve().parent / "results/caution.json"
NUM_PARTS = 6
CAUTIONS = (0.0, 0.005, 0.01, 0.02, 0.05, 0.08)
SETS = {
    "ett": {"ETTh1": 3},
    "epf": {"NP, known future": 1},
    "epa_air": {"Denver": 3, "Los_Angeles": 3, "Richmond": 3},
    "time_mmd": {"Energy": 2, "Health": 2, "Climate": 2},
}
"""How many seeds of each."""

Parts = tuple[int, ...]
SPLITS: dict[str, tuple[Parts, ...]] = {
    "earlier half": ((0, 1, 2),),
    "either half": ((0, 1, 2), (3, 4, 5)),
    "a third": ((0, 1), (2, 3), (4, 5)),
    "two thirds": ((2, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 3)),
}
"""Which parts choose; the others judge."""


@dataclass(frozen=True)
class Trained:
    """What training one model left; losses: (part, share) summed, count: (part,) of values."""

    set_name: str
    losses: Tensor
    count: Tensor

    @classmethod
    def of(cls, run: Record) -> Trained:
        """Read what was kept."""
        losses, count = (torch.tensor(run[key], dtype=torch.float64) for key in ("losses", "count"))
        return cls(run["set"], losses, count)

    def mean(self, parts: Parts) -> Tensor:
        """Return the mean loss over some parts, (share,)."""
        chosen = list(parts)
        return self.losses[chosen].sum(dim=0) / self.count[chosen].sum()


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder that holds the sets")
    parser.add_argument("--sets", nargs="+", help="some of them, such as ETTh1")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON file to go on in")
    parser.add_argument("--table", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    if arguments.data is None and not arguments.table:
        parser.error("--data: name the folder that holds the sets, or give --table")
    results = ResultsFile(arguments.results)
    if not arguments.table:
        train_all(arguments.data, arguments.sets, arguments.jobs, results)
    print(as_text(list(table([Trained.of(run) for run in results.runs]))))


def train_all(data: Path, sets: Sequence[str] | None, jobs: int, results: ResultsFile) -> None:
    """Train every model that is not in the results yet."""
    os.environ["OMP_NUM_THREADS"] = "1"
    done = {(run["set"], run["horizon"], run["seed"]) for run in results.runs}
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(jobs, context) as pool:
        waiting = [
            pool.submit(train_one, name, horizon, seed, config)
            for name, horizon, seed, config in models(data, sets, Path(folder))
            if (name, horizon, seed) not in done
        ]
        for number, future in enumerate(as_completed(waiting), start=1):
            run = future.result()
            results.add(run)
            print(f"  {number}/{len(waiting)} {run['set']}, {run['horizon']} steps", flush=True)


def models(
    data: Path, sets: Sequence[str] | None, folder: Path
) -> Iterator[tuple[str, int, int, ExperimentConfig]]:
    """Yield set, horizon, seed and config of every model; none of them reads texts."""
    for family, chosen in SETS.items():
        for name, num_seeds in chosen.items():
            if sets is not None and name not in sets:
                continue
            work = folder / name.replace(" ", "-").replace(",", "")
            work.mkdir()
            prepared = prepare(name, FAMILIES[family][name], data, work)
            for horizon in prepared.chosen.horizons:
                for seed in range(1, num_seeds + 1):
                    recipe, texts = prepared.chosen.recipe, prepared.streams("text")
                    config = prepared.config(horizon, *recipe, without=texts, seed=seed)
                    yield name, horizon, seed, config


def train_one(name: str, horizon: int, seed: int, config: ExperimentConfig) -> Record:
    """Train a model, and return its losses on validation by part and share."""
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        result = train(config, Path(folder) / "run")
        forecaster = Forecaster.from_checkpoint(result.checkpoint)
    losses, count = losses_by_part(forecaster, load_dataset(config.data))
    return {
        "set": name, "horizon": horizon, "seed": seed,
        "losses": losses.tolist(), "count": count.tolist(),
    }  # fmt: skip


def losses_by_part(forecaster: Forecaster, dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Return losses, (part, share), and numbers of observed values, (part,), of validation."""
    model, windows = forecaster.model, dataset.windows("validation")
    origins = windows.windows.origins
    span = origins.max() - origins.min() + 1
    part = (origins - origins.min()) * NUM_PARTS // span
    losses = torch.zeros(NUM_PARTS, len(model.network_share.offered), dtype=torch.float64)
    count = torch.zeros(NUM_PARTS, dtype=torch.float64)
    begin = 0
    model.eval()
    with torch.inference_mode():
        for batch in windows.batches(256):
            place = part[begin : begin + len(batch.target)]
            begin += len(place)
            linear, whole = model.forecast_in_parts(batch)
            assert linear is not None
            missing = ~batch.target_observed
            count.index_add_(0, place, (~missing).double().sum(dim=(1, 2)))
            for share, forecast in enumerate(model.network_share.each(linear, whole)):
                missed = model.head.loss(forecast, batch.target).masked_fill(missing, 0.0)
                losses[:, share].index_add_(0, place, missed.double().sum(dim=(1, 2)))
    return losses, count


def table(trained: Sequence[Trained]) -> Iterator[tuple[str, ...]]:
    """Yield a row per rule: means over sets by split, over all of those, and by set."""
    share = NetworkShare(("0.1", "0.5", "0.9"))
    names = list(dict.fromkeys(model.set_name for model in trained))
    yield ("rule", *SPLITS, "mean of these", *names)
    rules: dict[str, Callable[[Tensor], int]] = {
        "least loss" if caution == 0 else f"caution of {caution:g}"
        + (", as it is" if caution == CAUTION else ""):
        lambda losses, caution=caution: share.offered.index(share.choose(losses, caution))
        for caution in CAUTIONS
    }  # fmt: skip
    rules["the whole model"] = lambda _: 0
    for rule, choose in rules.items():
        found = {split: by_set(trained, SPLITS[split], share, choose) for split in SPLITS}
        means = [mean(of_sets.values()) for of_sets in found.values()]
        of_names = [mean(of_sets[name] for of_sets in found.values()) for name in names]
        yield (rule, *(f"{number:.4f}" for number in (*means, mean(means), *of_names)))


def by_set(
    trained: Sequence[Trained],
    choosing: Sequence[Parts],
    share: NetworkShare,
    choose: Callable[[Tensor], int],
) -> Mapping[str, float]:
    """Return the loss where it was judged of that of the linear path, the mean of each set."""
    alone = [place for place, shares in enumerate(share.offered) if shares.middle == 0]
    found: dict[str, list[float]] = {}
    for model in trained:
        for parts in choosing:
            others = tuple(part for part in range(NUM_PARTS) if part not in parts)
            losses, judged = model.mean(parts), model.mean(others)
            linear = min(alone, key=lambda place: float(losses[place]))
            ratio = float(judged[choose(losses)] / judged[linear])
            found.setdefault(model.set_name, []).append(ratio)
    return {name: mean(ratios) for name, ratios in found.items()}


if __name__ == "__main__":
    main()
