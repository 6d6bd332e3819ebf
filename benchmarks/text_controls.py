"""What the prose of a set is worth: trained on it, on the same texts shuffled, and on none.

python benchmarks/text_controls.py configs/benchmarks/epa_air.yaml --data DIR

Shuffled means that every row holds the text of another row of its file, in training and in test:
a model that gains as much from that has learned that there are texts, not what they say. All
three are trained and tested alike, once per seed, and stand beside the baselines.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from mmts.config import ExperimentConfig, load_config
from mmts.evaluation import ALL_TARGETS, BASELINES, MODEL, evaluate, load_evaluation_data
from mmts.experiment import train
from mmts.forecasting import Forecaster

VARIANTS = ("as it is", "shuffled", "empty")


def main() -> None:
    """Train and test every variant with every seed, print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, help="experiment with a stream of prose")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds its files")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--set", action="append", default=[], help="change one key of the config")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        parser.error(f"{arguments.data}: there is no such folder")
    logging.basicConfig(level=logging.ERROR)

    overrides = [f"data.root={arguments.data.resolve()}", "tracking={enabled: false}"]
    overrides += arguments.set
    found: dict[str, list[dict[str, float]]] = {name: [] for name in (*VARIANTS, *BASELINES)}
    for seed in range(1, arguments.seeds + 1):
        for variant in VARIANTS:
            with tempfile.TemporaryDirectory() as folder:
                config = load_config(arguments.config, [*overrides, f"seed={seed}"])
                scores = score(rewrite_texts(config, variant, Path(folder)), Path(folder) / "run")
            found[variant].append(scores[MODEL])
            if variant == VARIANTS[0] and seed == 1:
                for name in BASELINES:
                    found[name].append(scores[name])
    report(config.name, found)
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=2) + "\n")


def rewrite_texts(config: ExperimentConfig, variant: str, folder: Path) -> ExperimentConfig:
    """Return the config with its prose changed as the variant says, in copies of the files."""
    if variant == VARIANTS[0]:
        return config
    streams = dict(config.data.streams)
    for name, stream in streams.items():
        if not stream.text or stream.path is None:
            continue
        root, random = Path(config.data.root), np.random.default_rng(config.seed)
        for path in sorted(root.glob(stream.path)):
            frame = pd.read_csv(path)
            for column in stream.text:
                texts = frame[column].to_numpy(dtype=object)
                order = random.permutation(len(texts))
                frame[column] = texts[order] if variant == "shuffled" else ""
            copy = folder / path.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            frame.to_csv(copy, index=False)
        streams[name] = stream.model_copy(update={"path": str(folder / stream.path)})
    data = config.data.model_copy(update={"streams": streams})
    return config.model_copy(update={"data": data})


def score(config: ExperimentConfig, folder: Path) -> dict[str, dict[str, float]]:
    """Train, and return MAE and RMSE on the test split of the model and of each baseline."""
    forecaster = Forecaster.from_checkpoint(train(config, folder).checkpoint)
    evaluation = evaluate(forecaster, load_evaluation_data(forecaster.info))
    return {
        method: {
            "mae": by_target[ALL_TARGETS].overall.mae,
            "rmse": by_target[ALL_TARGETS].overall.rmse,
        }
        for method, by_target in evaluation.scores.items()
    }


def report(name: str, found: dict[str, list[dict[str, float]]]) -> None:
    """Print mean and spread over seeds."""
    print(f"{name:22}  {'MAE':>18}  {'RMSE':>18}")
    for method, runs in found.items():
        cells = []
        for measure in ("mae", "rmse"):
            values = np.array([run[measure] for run in runs])
            spread = f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.4f}{spread}")
        label = f"model, text {method}" if method in VARIANTS else method
        print(f"{label:22}  {cells[0]:>18}  {cells[1]:>18}")


if __name__ == "__main__":
    main()
