"""What an explanation finds, and how it says so."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from mmts.evaluation.report import to_plain
from mmts.explanation.costs import INTERVAL, Cost, Metric
from mmts.explanation.edges import SPREAD, Strength
from mmts.explanation.reading import SourceReading

_LONGEST_NAME = 160
"""Of an edge in the name of a metric, which MLflow cuts at 250 characters."""


@dataclass(frozen=True)
class EdgeExplanation:
    """One edge: what it adds, where it reads, and what it costs to switch it off.

    readings: per source; none where the kind does not tell. What is missing to a share of one went
    to nothing or has faded with age, and in an edge of kind joint to the target's own tokens, too.
    cost: of switching the edge off, and with it the constant that it may have learned to add.
    """

    name: str
    kind: str
    sources: tuple[str, ...]
    to: str
    strength: Strength
    readings: tuple[SourceReading, ...]
    cost: Cost

    @property
    def words(self) -> str:
        """Say it in short: its nodes, and its name where it has one of its own."""
        nodes = f"{' + '.join(self.sources)} -> {self.to}"
        return nodes if self.name.startswith(f"{self.kind}_") else f"{self.name}: {nodes}"

    @property
    def nothing(self) -> float:
        """Share that no source gets; NaN where the kind does not tell."""
        if not self.readings:
            return math.nan
        # Not below zero: sums of many shares are rounded.
        return max(0.0, 1 - sum(reading.share for reading in self.readings))


@dataclass(frozen=True)
class StreamExplanation:
    """One stream other than the target's: what it costs to shuffle it, and to leave it out."""

    name: str
    shuffled: Cost
    without: Cost


@dataclass(frozen=True)
class Explanation:
    """What each edge and each stream is worth to one model, on all windows of one split.

    edges, streams: those first that are missed most, streams by what shuffling costs.
    all_edges: cost of switching all of them off together; None without edges.
    value: the metric of the whole model, of `target`. num_blocks: behind each standard error.
    notes: what has no part in the forecast, and what else to know.
    """

    split: str
    dates: tuple[str, str]
    metric: Metric
    target: str
    value: float
    num_windows: int
    num_values: int
    num_blocks: int
    edges: tuple[EdgeExplanation, ...]
    all_edges: Cost | None
    streams: tuple[StreamExplanation, ...]
    notes: tuple[str, ...]
    run_id: str | None

    @property
    def method(self) -> str:
        """Say what costs and strengths are."""
        return (
            f"cost: change in {self.metric.upper()} of {self.target}, with an interval of "
            f"{INTERVAL} standard errors to either side, from {self.num_blocks} blocks of "
            "origins; strength: norm of what an edge adds over the norm of what it adds to, in all "
            f"windows together, and from where to where {SPREAD[1] - SPREAD[0]}% of windows lie"
        )

    @property
    def strengths(self) -> dict[str, float]:
        """Strength of each edge by its name."""
        return {edge.name: edge.strength.overall for edge in self.edges}

    def edge_table(self) -> pd.DataFrame:
        """Return a row per edge."""
        return pd.DataFrame(
            [
                {
                    "edge": edge.name,
                    "kind": edge.kind,
                    "from": " + ".join(edge.sources),
                    "to": edge.to,
                    "strength": edge.strength.overall,
                    "strength_low": edge.strength.low,
                    "strength_high": edge.strength.high,
                    "nothing": edge.nothing,
                    **_cells("cost", edge.cost),
                }
                for edge in self.edges
            ]
        )

    def stream_table(self) -> pd.DataFrame:
        """Return a row per stream."""
        return pd.DataFrame(
            [
                {
                    "stream": stream.name,
                    **_cells("shuffled", stream.shuffled),
                    **_cells("without", stream.without),
                }
                for stream in self.streams
            ]
        )

    def reading_table(self) -> pd.DataFrame:
        """Return a row per edge, source and bin of lags, in seconds."""
        return pd.DataFrame(
            [
                {
                    "edge": edge.name,
                    "source": reading.source,
                    "lag_from": (lags.first + place * lags.width) / 1e6,
                    "lag_to": (lags.first + (place + 1) * lags.width) / 1e6,
                    "share": share,
                    "even": even,
                }
                for edge in self.edges
                for reading in edge.readings
                if (lags := reading.lags) is not None
                for place, (share, even) in enumerate(zip(lags.shares, lags.even, strict=True))
            ],
            columns=["edge", "source", "lag_from", "lag_to", "share", "even"],
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values, times in seconds; null where a number is not defined."""
        found: dict[str, Any] = to_plain(
            {
                "split": self.split,
                "dates": self.dates,
                "metric": self.metric,
                "target": self.target,
                "value": self.value,
                "num_windows": self.num_windows,
                "num_values": self.num_values,
                "num_blocks": self.num_blocks,
                "interval_standard_errors": INTERVAL,
                "edges": [
                    {
                        "name": edge.name,
                        "kind": edge.kind,
                        "from": edge.sources,
                        "to": edge.to,
                        "strength": asdict(edge.strength),
                        "nothing": edge.nothing,
                        "readings": [_reading_json(reading) for reading in edge.readings],
                        "cost": edge.cost.to_json(),
                    }
                    for edge in self.edges
                ],
                "all_edges": None if self.all_edges is None else self.all_edges.to_json(),
                "streams": [
                    {
                        "name": stream.name,
                        "shuffled": stream.shuffled.to_json(),
                        "without": stream.without.to_json(),
                    }
                    for stream in self.streams
                ],
                "notes": self.notes,
            }
        )
        return found

    def metrics(self) -> dict[str, float]:
        """Return all numbers that are defined under flat names, as a tracker takes them."""
        prefix = "explain" if self.split == "test" else f"explain/{self.split}"
        return {f"{prefix}/{name}": x for name, x in self._metrics() if not math.isnan(x)}

    def _metrics(self) -> Iterator[tuple[str, float]]:
        for edge in self.edges:
            place = f"edge/{_shorten(edge.name)}"
            yield f"{place}/strength", edge.strength.overall
            yield f"{place}/nothing", edge.nothing
            for reading in edge.readings:
                yield f"{place}/share/{reading.source}", reading.share
            yield from _cells(f"{place}/cost", edge.cost, "/").items()
        if self.all_edges is not None:
            yield from _cells("all_edges/cost", self.all_edges, "/").items()
        for stream in self.streams:
            yield from _cells(f"stream/{stream.name}/shuffled", stream.shuffled, "/").items()
            yield from _cells(f"stream/{stream.name}/without", stream.without, "/").items()


def _cells(name: str, cost: Cost, joint: str = "_") -> dict[str, float]:
    return {
        f"{name}{joint}percent": cost.percent,
        f"{name}{joint}standard_error": cost.standard_error,
    }


def _shorten(name: str) -> str:
    if len(name) <= _LONGEST_NAME:
        return name
    # Two long names may begin alike.
    return f"{name[:_LONGEST_NAME]}-{zlib.crc32(name.encode()):08x}"


def _reading_json(reading: SourceReading) -> dict[str, Any]:
    found = asdict(reading)
    lags = reading.lags
    if lags is not None:
        found["lags"] = {
            "width": lags.width / 1e6,
            "first": lags.first / 1e6,
            "shares": lags.shares,
            "even": lags.even,
            "median": None if lags.median is None else lags.median / 1e6,
        }
    return found
