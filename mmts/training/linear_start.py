"""The model as training finds it: its linear path fitted, all else as it was drawn."""

from __future__ import annotations

import logging
import time

from mmts.checkpoint import build_model
from mmts.config import ExperimentConfig
from mmts.data.dataset import Dataset
from mmts.linear.fitted import LinearFit
from mmts.linear.fitting import fit_linear
from mmts.linear.path import READS_IN_WORDS, LinearConfig
from mmts.model import MultimodalForecaster
from mmts.training.state import KeptState

logger = logging.getLogger(__name__)


LinearFits = dict[tuple[LinearConfig, bool], LinearFit]
"""Fits on the same data, by their settings and whether they are robust."""


def start_model(
    config: ExperimentConfig, dataset: Dataset, known: LinearFits | None = None
) -> tuple[ExperimentConfig, MultimodalForecaster]:
    """Return the model with its linear path fitted, and the config with what was chosen for it.

    Several processes that do this with the same data come to the same. known: fits on these data,
    of which none is made twice, and to which a new one is added.
    """
    settings = config.model.linear
    if settings is None:
        return config, build_model(config, dataset.schema, dataset.scaling)
    # What the head forecasts decides how errors count.
    is_robust = config.model.head.is_robust
    known = {} if known is None else known
    fit = known.get((settings, is_robust)) or _fit(settings, is_robust, dataset)
    known[settings, is_robust] = fit
    model_config = config.model.model_copy(update={"linear": fit.config})
    config = config.model_copy(update={"model": model_config})
    model = build_model(config, dataset.schema, dataset.scaling)
    assert model.linear is not None
    fit.write_into(model.linear, model.outputs)
    return config, model


def begin_model(
    config: ExperimentConfig,
    dataset: Dataset,
    kept: KeptState | None,
    known: LinearFits | None = None,
) -> tuple[ExperimentConfig, MultimodalForecaster]:
    """Return the model as training finds it, or as an earlier training had it.

    known: linear fits on these data. Raises RunError where what was kept does not fit.
    """
    if kept is None or not kept.has_model:
        return start_model(config, dataset, known)
    return config, kept.build_model(config, dataset)


def _fit(settings: LinearConfig, is_robust: bool, dataset: Dataset) -> LinearFit:
    began = time.monotonic()
    train, validation = dataset.windows("train"), dataset.windows("validation")
    # It may take a minute, in which nothing else would be said.
    logger.info("fitting the linear path on %d windows", len(train))
    fit = fit_linear(train, validation, dataset.category_sizes, settings, is_robust)
    logger.info(
        "linear path: reads %s%s, fitted by %s on %s of the train windows in %.1f s",
        READS_IN_WORDS[fit.config.settled_reads],
        ", the mean of two contexts" if fit.config.contexts == "both" else "",
        "huber's loss" if fit.config.loss == "huber" else "least squares",
        "all" if fit.config.recent == 1 else f"the latest {fit.config.recent:.0%}",
        time.monotonic() - began,
    )
    return fit
