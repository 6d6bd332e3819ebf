"""Make the checkpoint of a new format: run once when the format changes, and commit the result.

python -m tests.checkpoints.make
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from mmts.checkpoint import FORMAT_VERSION, load_checkpoint, save_checkpoint
from mmts.config import load_config
from mmts.experiment import train
from mmts.forecasting import Forecaster
from mmts.model import MultimodalForecaster
from tests.factories import add_words, make_frames, make_settings, write_config, write_frames

FOLDER = Path(__file__).parent


def make() -> None:
    """Train the small world, calibrated, and keep its checkpoint beside what it forecasts."""
    path = FOLDER / f"format_{FORMAT_VERSION}.mmts"
    frames, settings = make_frames(), make_settings()
    add_words(frames, settings)
    settings["calibration"] = {"kind": "conformal"}
    model = train_and_keep(settings, frames, path)
    forecast = Forecaster.from_checkpoint(path).predict(frames)
    expected = {level: forecast[level].to_list() for level in model.outputs}
    path.with_suffix(".json").write_text(json.dumps(expected) + "\n")


def train_and_keep(
    settings: dict[str, Any], frames: dict[str, pd.DataFrame], path: Path
) -> MultimodalForecaster:
    """Train, and keep a checkpoint that knows nothing of this machine's folders."""
    with tempfile.TemporaryDirectory() as folder:
        write_frames(Path(folder) / "world", frames)
        config = load_config(write_config(Path(folder) / "world", settings))
        info, model = load_checkpoint(train(config, Path(folder) / "run").checkpoint)
    data = info.config.data.model_copy(update={"root": "data"})
    info = info.model_copy(update={"config": info.config.model_copy(update={"data": data})})
    save_checkpoint(path, info, model.state_dict())
    return model


if __name__ == "__main__":
    make()
