"""What each edge and each stream does for a trained model, and what it would cost to lose it."""

from mmts.explanation.costs import INTERVAL, Cost, Metric, switched_off
from mmts.explanation.edges import EdgeMeter, Strength
from mmts.explanation.lags import LagProfile
from mmts.explanation.passes import check_request, explain
from mmts.explanation.reading import SharesOverTime, SourceReading, TokenShares
from mmts.explanation.report import EdgeExplanation, Explanation, StreamExplanation

__all__ = [
    "INTERVAL",
    "Cost",
    "EdgeExplanation",
    "EdgeMeter",
    "Explanation",
    "LagProfile",
    "Metric",
    "SharesOverTime",
    "SourceReading",
    "StreamExplanation",
    "Strength",
    "TokenShares",
    "check_request",
    "explain",
    "switched_off",
]
