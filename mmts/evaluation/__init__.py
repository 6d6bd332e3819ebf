"""How good a model is, beside baselines that need next to no training."""

from mmts.evaluation.ablation import Ablation, choose_ablation, leave_out, shuffle
from mmts.evaluation.coverage import (
    Coverage,
    coverage_table,
    coverage_to_json,
    measure_coverage,
)
from mmts.evaluation.report import ALL_TARGETS, BASELINES, MODEL, Evaluation, WindowForecasts
from mmts.evaluation.rolling import evaluate, forecast_windows, load_evaluation_data
from mmts.evaluation.subsets import Subsets, list_subsets, score_subsets

__all__ = [
    "ALL_TARGETS",
    "BASELINES",
    "MODEL",
    "Ablation",
    "Coverage",
    "Evaluation",
    "Subsets",
    "WindowForecasts",
    "choose_ablation",
    "coverage_table",
    "coverage_to_json",
    "evaluate",
    "forecast_windows",
    "leave_out",
    "list_subsets",
    "load_evaluation_data",
    "measure_coverage",
    "score_subsets",
    "shuffle",
]
