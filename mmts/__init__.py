"""Forecasting models on several CSV streams at once, each on its own clock."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmts import plots
    from mmts.config import ExperimentConfig, load_config
    from mmts.encoders.kinds import register_encoder
    from mmts.errors import MmtsError
    from mmts.evaluation import evaluate, load_evaluation_data
    from mmts.experiment import resume, train
    from mmts.forecasting import Forecaster
    from mmts.interactions.kinds import register_interaction
    from mmts.training.assignment import TrainingResult

__version__ = "0.1.0"
__all__ = [
    "ExperimentConfig",
    "Forecaster",
    "MmtsError",
    "TrainingResult",
    "__version__",
    "evaluate",
    "load_config",
    "load_evaluation_data",
    "plots",
    "register_encoder",
    "register_interaction",
    "resume",
    "train",
]

_HOMES = {
    "ExperimentConfig": "mmts.config",
    "Forecaster": "mmts.forecasting",
    "MmtsError": "mmts.errors",
    "TrainingResult": "mmts.training.assignment",
    "evaluate": "mmts.evaluation",
    "load_config": "mmts.config",
    "load_evaluation_data": "mmts.evaluation",
    "register_encoder": "mmts.encoders.kinds",
    "register_interaction": "mmts.interactions.kinds",
    "resume": "mmts.experiment",
    "train": "mmts.experiment",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `mmts --help` must not wait for torch."""
    if name == "plots":
        return importlib.import_module("mmts.plots")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Name what can be had, for completion in a notebook."""
    return sorted({*globals(), *__all__})
