"""Make the small checkpoint from which the fuzzing of checkpoints starts, and its description.

python -m tests.fuzz.make_corpus
"""

from __future__ import annotations

import json

from mmts.checkpoint_file import read_description
from tests.checkpoints.make import train_and_keep
from tests.factories import make_frames, make_settings
from tests.fuzz.targets import CORPUS


def make() -> None:
    """Train a model of three narrow streams."""
    settings = make_settings()
    streams, model = settings["data"]["streams"], settings["model"]
    for name in ("news", "plan"):
        del streams[name], model["encoders"][name]
    settings["data"]["horizon"] = "2h"
    streams["load"]["context_length"] = streams["weather"]["context_length"] = "6h"
    for encoder in model["encoders"].values():
        encoder |= {"dim": 2, "num_layers": 1}
    model["encoders"]["weather"]["layer_dims"] = [4]
    model["interactions"] = [
        {"kind": "weighted", "from": ["weather.0", "site.1"], "to": "load.1"},
        {"kind": "attention", "from": "weather.1", "to": "load.out"},
    ]
    model["head"] = {"kind": "quantile", "dim": 2}
    frames = {name: frame for name, frame in make_frames().items() if name in streams}
    path = CORPUS / "checkpoint/small.mmts"
    train_and_keep(settings, frames, path)
    path.with_suffix(".json").write_text(json.dumps(read_description(path)) + "\n")


if __name__ == "__main__":
    make()
