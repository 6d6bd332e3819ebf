"""A backtest from a checkpoint to its scores."""

from __future__ import annotations

import logging
from pathlib import Path

from mmts.backtest.cutoffs import Cutoffs
from mmts.backtest.forecasts import CutoffForecasts, forecast_at
from mmts.backtest.refit import Refits
from mmts.backtest.report import Backtest
from mmts.backtest.scoring import score_backtest
from mmts.data.dataset import Dataset
from mmts.data.source_files import fingerprint
from mmts.evaluation.rolling import load_evaluation_data
from mmts.forecasting import Forecaster
from mmts.interrupts import SignalWatch

logger = logging.getLogger(__name__)


def backtest(forecaster: Forecaster, dataset: Dataset, cutoffs: Cutoffs, split: str) -> Backtest:
    """Forecast from every cut-off with the model as it is, beside baselines.

    The baselines are fitted once, on the splits that the model was trained on and chosen by.
    cutoffs: as `choose_cutoffs` gives them for this split.
    """
    found = forecast_at(forecaster, dataset, cutoffs.moments, cutoffs.begin, cutoffs.end)
    run_id = forecaster.info.run_id
    return score_backtest(dataset, cutoffs, list(found), split, run_id, is_refit=False)


def backtest_refitted(
    forecaster: Forecaster,
    dataset: Dataset,
    cutoffs: Cutoffs,
    split: str,
    folder: Path,
    store: Path,
    root: str | Path | None = None,
) -> Backtest:
    """Train a model before each cut-off by the config of this one, and forecast with it.

    The baselines, scales and the season are fitted anew as well, on what the model was trained on.
    folder: where the models are kept, of which none is trained again. store: the folder of runs,
    for MLflow. root: another folder that holds the files.
    Raises OutputError where the folder holds other models, before anything is trained, and
    KeyboardInterrupt on Ctrl-C or SIGTERM.
    """
    refits = Refits(forecaster.info, dataset, folder, store, root)
    hashes = fingerprint(refits.config_before(cutoffs.moments[0]).data)
    refits.require_own(cutoffs.moments, hashes)
    found: list[CutoffForecasts] = []
    with SignalWatch() as watch:
        for number, moment in enumerate(cutoffs.moments, start=1):
            logger.info(
                "cut-off %d of %d: %s", number, len(cutoffs.moments), refits.place(moment).name
            )
            refitted = Forecaster.from_checkpoint(refits.train(moment, hashes))
            read = load_evaluation_data(refitted.info, root)
            assert read.items == dataset.items
            found += forecast_at(refitted, read, (moment,), cutoffs.begin, cutoffs.end)
            watch.check()
    run_id = forecaster.info.run_id
    return score_backtest(dataset, cutoffs, found, split, run_id, is_refit=True)
