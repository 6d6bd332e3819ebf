"""Every kind in a whole model, as the target's stream, as a known future, and as all others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmts.checkpoint import build_model
from mmts.config import load_config
from mmts.data.dataset import Dataset, load_dataset
from mmts.losses import masked_mean
from tests.encoders.test_kinds import KINDS
from tests.factories import add_words, make_frames, make_settings, write_config, write_frames

NAMES = sorted({str(settings["kind"]) for settings in KINDS})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("world")


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    settings, frames = make_settings(), make_frames()
    add_words(frames, settings)
    write_frames(folder, frames)
    return load_dataset(load_config(write_config(folder, settings)).data)


@pytest.mark.parametrize("kind", NAMES)
def test_a_model_of_one_kind_learns(folder: Path, dataset: Dataset, kind: str) -> None:
    settings = make_settings()
    add_words(make_frames(), settings)
    encoders = settings["model"]["encoders"]
    for name in encoders:
        if kind != "text" or name == "news":
            encoders[name] = {"kind": kind, "dim": 8, "num_layers": 3, "dropout": 0.0}
    settings["model"]["interactions"] = [
        {"kind": "attention", "from": f"{source}.1", "to": target, "causal": False}
        for source, target in zip(
            ("plan", "weather", "news", "site", "calendar", "load"),
            ("load.1", "load.2", "load.3", "load.3", "plan.1", "news.1"),
            strict=True,
        )
    ]
    config = load_config(write_config(folder, settings))
    model = build_model(config, dataset.schema, dataset.scaling).eval()
    batch = dataset.windows("train").gather(torch.arange(0, 200, 13))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(4):
        loss = masked_mean(model.head.loss(model(batch), batch.target), batch.target_observed)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle
