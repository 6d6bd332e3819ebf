"""Pictures of forecasts and evaluations: figures without any global state, to show or to save."""

from mmts.plots.attention import plot_lags, plot_token_shares
from mmts.plots.backtest import plot_backtest
from mmts.plots.coverage import plot_coverage
from mmts.plots.evaluation import plot_error_by_step, plot_test_windows
from mmts.plots.explanation import plot_edges, plot_streams
from mmts.plots.forecast import extract_history, forecast_picture, plot_forecast
from mmts.plots.graph import plot_graph
from mmts.plots.learning import plot_learning
from mmts.plots.quantile_coverage import plot_quantile_coverage
from mmts.plots.shares import plot_shares, plot_shares_over_time
from mmts.plots.style import to_picture, to_png, to_svg
from mmts.plots.subsets import plot_subsets

__all__ = [
    "extract_history",
    "forecast_picture",
    "plot_backtest",
    "plot_coverage",
    "plot_edges",
    "plot_error_by_step",
    "plot_forecast",
    "plot_graph",
    "plot_lags",
    "plot_learning",
    "plot_quantile_coverage",
    "plot_shares",
    "plot_shares_over_time",
    "plot_streams",
    "plot_subsets",
    "plot_test_windows",
    "plot_token_shares",
    "to_picture",
    "to_png",
    "to_svg",
]
