"""How good a model is, beside baselines that need next to no training."""

from mmts.evaluation.report import ALL_TARGETS, BASELINES, MODEL, Evaluation, WindowForecasts
from mmts.evaluation.rolling import evaluate, forecast_windows, load_evaluation_data

__all__ = [
    "ALL_TARGETS",
    "BASELINES",
    "MODEL",
    "Evaluation",
    "WindowForecasts",
    "evaluate",
    "forecast_windows",
    "load_evaluation_data",
]
