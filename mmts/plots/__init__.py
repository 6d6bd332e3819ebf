"""Pictures of forecasts and evaluations: figures without any global state, to show or to save."""

from mmts.plots.coverage import plot_coverage
from mmts.plots.evaluation import plot_error_by_step, plot_test_windows
from mmts.plots.forecast import extract_history, forecast_picture, plot_forecast
from mmts.plots.style import to_png
from mmts.plots.subsets import plot_subsets

__all__ = [
    "extract_history",
    "forecast_picture",
    "plot_coverage",
    "plot_error_by_step",
    "plot_forecast",
    "plot_subsets",
    "plot_test_windows",
    "to_png",
]
