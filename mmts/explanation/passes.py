"""Explaining a model: all windows of a split, once for every edge and stream that is taken away."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import numpy as np

from mmts.data.dataset import Dataset
from mmts.data.gathering import WindowGatherer
from mmts.data.schema import DataSchema
from mmts.errors import ConfigError, DataError, nearest
from mmts.evaluation.ablation import describe_idle, leave_out, shuffle
from mmts.evaluation.report import ALL_TARGETS, WindowForecasts
from mmts.evaluation.rolling import forecast_windows, gather_splits
from mmts.evaluation.subsets import block_origins
from mmts.explanation.costs import Cost, CostMeter, Metric, switched_off
from mmts.explanation.edges import EdgeMeter
from mmts.explanation.report import EdgeExplanation, Explanation, StreamExplanation
from mmts.forecasting import BATCH_SIZE, Forecaster

NOTHING_NOTE = "the model has no edge and reads the target's stream alone: nothing to take away"

logger = logging.getLogger(__name__)


def check_request(metric: str, target: str | None, schema: DataSchema) -> None:
    """Check what is to be measured, and of what.

    Raises ConfigError for a metric that does not exist, and DataError for a target that does not.
    """
    known, targets = get_args(Metric), schema.target_columns
    if metric not in known:
        listing = f"; there are {', '.join(known)}."
        raise ConfigError(f"there is no metric {metric!r}{nearest(metric, known, listing)}")
    if target is not None and target not in targets:
        listing = f"; there are {', '.join(targets)}."
        raise DataError(f"there is no target {target!r}{nearest(target, targets, listing)}")


def explain(
    forecaster: Forecaster,
    dataset: Dataset,
    split: str = "test",
    metric: Metric = "mae",
    target: str | None = None,
    batch_size: int = BATCH_SIZE,
) -> Explanation:
    """Find out what each edge and each stream does for a model.

    split: `test` or `validation`. metric: what costs are measured in. target: the one to measure;
    all of them pooled by default. batch_size: windows at a time, which is what memory follows.
    Every pass forecasts the same windows. An edge that is switched off, and a stream that is left
    out or shuffled, is missed by a model that learned to count on it: another training may make up
    for it.
    Raises DataError for a split without windows and for a target that does not exist, and
    ConfigError for a metric that does not.
    """
    schema = dataset.schema
    check_request(metric, target, schema)
    gatherer = gather_splits(dataset, [split])[split]
    model = forecaster.model
    configured = forecaster.info.config.model.edges(schema.target_stream)
    edges = {name: edge for name, edge in configured.items() if name in model.sources}
    others = [name for name in schema.streams if name != schema.target_stream]
    num_passes = 1 + len(edges) + (len(edges) > 1) + 2 * len(others)
    passes = iter(range(1, num_passes + 1))

    def announce(what: str) -> None:
        logger.info("pass %d of %d: %s", next(passes), num_passes, what)

    announce(f"the whole model on {len(gatherer):,} windows")
    watched = EdgeMeter(model)
    whole = forecast_windows(forecaster, gatherer, watched, batch_size)
    blocks = block_origins(whole.origins, schema.horizon * schema.frequency)
    meter = CostMeter(_choose_target(whole, schema.target_columns, target), metric, blocks)

    def cost(windows: WindowGatherer) -> Cost:
        assert np.array_equal(windows.windows.origins.numpy(), whole.origins)
        forecast = forecaster.predict_windows(windows, batch_size=batch_size)
        found = replace(whole, forecast=forecast)
        return meter.measure(_choose_target(found, schema.target_columns, target))

    explained = []
    for name, edge in edges.items():
        announce(f"edge {name} switched off")
        with switched_off(model, [name]):
            missed = cost(gatherer)
        explained.append(
            EdgeExplanation(
                name=name,
                kind=edge.kind,
                sources=edge.sources,
                to=edge.to,
                strength=watched.strength(name),
                readings=watched.reading(name),
                cost=missed,
            )
        )
    all_edges = explained[0].cost if explained else None
    if len(edges) > 1:
        announce("all edges switched off")
        with switched_off(model, list(edges)):
            all_edges = cost(gatherer)
    streams = []
    for name in others:
        announce(f"stream {name} shuffled")
        shuffled = cost(shuffle(dataset, [name]).windows(split))
        announce(f"stream {name} left out")
        without = cost(leave_out(dataset, [name]).windows(split))
        streams.append(StreamExplanation(name, shuffled, without))

    dates = {name: (first, end) for name, first, end in dataset.split.dates(schema)}
    chosen = _choose_target(whole, schema.target_columns, target)
    return Explanation(
        split=split,
        dates=dates[split],
        metric=metric,
        target=target or _pooled(schema.target_columns),
        value=meter.value,
        num_windows=len(gatherer),
        num_values=int(chosen.observed.sum()),
        num_blocks=int(blocks.max()) + 1,
        edges=tuple(sorted(explained, key=lambda edge: _by_cost(edge.cost))),
        all_edges=all_edges,
        streams=tuple(sorted(streams, key=lambda stream: _by_cost(stream.shuffled))),
        notes=(
            *dataset.notes,
            *describe_idle(dataset, others),
            *_describe_unused(forecaster, set(configured) - set(edges)),
            *([] if edges or others else [NOTHING_NOTE]),
        ),
        run_id=forecaster.info.run_id,
    )


def _pooled(targets: tuple[str, ...]) -> str:
    return targets[0] if len(targets) == 1 else ALL_TARGETS


def _choose_target(
    windows: WindowForecasts, targets: tuple[str, ...], target: str | None
) -> WindowForecasts:
    """Return the windows of one target alone, or as they are."""
    if target is None:
        return windows
    return windows.of_target(targets.index(target))


def _by_cost(cost: Cost) -> float:
    # What is not defined comes last.
    return math.inf if math.isnan(cost.percent) else -cost.percent


def _describe_unused(forecaster: Forecaster, idle_edges: set[str]) -> Iterator[str]:
    if idle_edges:
        listed = ", ".join(sorted(idle_edges))
        yield f"no path to the head, so that the model has no such edge: {listed}"
    streams = forecaster.model.schedule.idle_streams()
    if streams:
        yield f"no path to the head, so that the model does not read stream {', '.join(streams)}"
