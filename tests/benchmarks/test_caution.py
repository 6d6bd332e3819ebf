"""The benchmark of how far to go from the linear path counts right."""

from __future__ import annotations

from pathlib import Path

import caution
import pytest
import torch

from mmts.checkpoint import read_info
from mmts.config import load_config
from mmts.data.dataset import load_dataset
from mmts.experiment import train
from mmts.forecasting import Forecaster
from mmts.linear.share import NetworkShare


def test_the_parts_of_validation_are_all_of_it(world: Path, tmp_path: Path) -> None:
    config = load_config(world, ["training.max_epochs=2", "training.learning_rate=0.02"])
    forecaster = Forecaster.from_checkpoint(train(config, tmp_path / "run").checkpoint)
    dataset = load_dataset(config.data)
    losses, count = caution.losses_by_part(forecaster, dataset)
    windows = dataset.windows("validation")
    observed = windows.gather(torch.arange(len(windows))).target_observed.sum(dim=(1, 2)).double()
    begin, end = windows.windows.origins.min(), windows.windows.origins.max()
    # In order of time, whatever the order of the windows is: items follow one another in that.
    passed = (windows.windows.origins - begin).double() / (end - begin + 1)
    part = (passed * caution.NUM_PARTS).long()
    assert (part.diff() < 0).any()
    assert count.tolist() == [float(observed[part == p].sum()) for p in range(caution.NUM_PARTS)]
    share = forecaster.model.network_share
    together = losses.sum(dim=0) / count.sum()
    assert count.min() > 0
    place = share.offered.index(tuple(share.chosen.tolist()))
    kept = read_info(tmp_path / "run/best.mmts").validation_loss
    assert float(together[place]) == pytest.approx(kept, rel=1e-5)


def test_whoever_judges_has_not_chosen() -> None:
    share = NetworkShare(("0.1", "0.5", "0.9"))
    middles = torch.tensor([shares.middle for shares in share.offered], dtype=torch.float64)
    spreads = torch.tensor([shares.spread for shares in share.offered], dtype=torch.float64)
    # Early on the whole way is worth a tenth of the loss, and costs as much later.
    early, late = 10 - middles + (1 - spreads), 10 + middles + (1 - spreads)
    model = caution.Trained(
        "a", torch.stack([early] * 3 + [late] * 3), torch.ones(6, dtype=torch.float64)
    )
    header, *rows = caution.table([model])
    found = {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}
    assert found["least loss"]["earlier half"] == "1.1000"
    # The later half stays on the linear path, and misses what it was worth before.
    assert found["least loss"]["either half"] == "1.0500"
    assert found["the whole model"]["either half"] == "1.0000"
