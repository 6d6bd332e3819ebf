"""How good a model is, beside baselines that need next to no training."""

from mmts.evaluation.ablation import Ablation, choose_ablation, leave_out, shuffle
from mmts.evaluation.report import ALL_TARGETS, BASELINES, MODEL, Evaluation, WindowForecasts
from mmts.evaluation.rolling import evaluate, forecast_windows, load_evaluation_data
from mmts.evaluation.subsets import Subsets, list_subsets, score_subsets

__all__ = [
    "ALL_TARGETS",
    "BASELINES",
    "MODEL",
    "Ablation",
    "Evaluation",
    "Subsets",
    "WindowForecasts",
    "choose_ablation",
    "evaluate",
    "forecast_windows",
    "leave_out",
    "list_subsets",
    "load_evaluation_data",
    "score_subsets",
    "shuffle",
]
