"""Forecasts by one linear map from what the model sees, found in closed form."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmts.baselines.least_squares import CHUNK, LinearMaps, RidgeProblem, RowReader, in_chunks
from mmts.baselines.ridge_forms import FORMS, RidgeForm, RidgeLayout
from mmts.data.gathering import WindowGatherer
from mmts.data.scaling import StreamScaling

PENALTIES = tuple(10.0**exponent for exponent in range(-5, 3))
"""Penalties to choose from, per train window: with 1,000 windows these are 10^-2 to 10^5."""

NUM_COMPARED = 6
"""Steps at which forms and penalties are compared."""

MAX_KEPT_NUMBERS = 2**28
"""Features times rows up to which features are kept, 1 GiB, and beyond gathered when needed."""

MAX_FEATURES = 6000
"""Features of all streams up to which maps from them are tried beside those from its own past."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RidgeForecaster:
    """A fitted map.

    penalty: the one chosen of `PENALTIES`, for the form of the layout.
    kept: (feature,) int64, the features that vary over the train windows.
    center: (feature,), their means there. weights: (feature, output). intercepts: (output,).
    validation_error: mean squared error on the validation windows, at the steps compared.
    """

    layout: RidgeLayout
    penalty: float
    kept: Tensor
    center: Tensor
    weights: Tensor
    intercepts: Tensor
    validation_error: float

    @property
    def form(self) -> RidgeForm:
        """What the map reads, and what it is relative to."""
        return self.layout.form

    def forecast(self, windows: WindowGatherer) -> Tensor:
        """Return (window, horizon, target), on the scale of the training split."""
        pieces = []
        for batch in windows.batches(CHUNK):
            rows = self.layout(batch)
            features = rows.features[..., self.kept] - self.center
            outputs = features @ self.weights + self.intercepts + rows.levels
            pieces.append(self.layout.restore(outputs))
        return torch.cat(pieces)


def fit_ridge(
    train: WindowGatherer,
    validation: WindowGatherer,
    scaling: Mapping[str, StreamScaling],
    forms: Sequence[RidgeForm] = FORMS,
    penalties: Sequence[float] | None = None,
) -> RidgeForecaster:
    """Fit one linear map per step and target on the train windows.

    forms: those to choose from. Where the target stream is all there is, and its target all it
    holds, reading it all is reading its own past, and is not tried again; neither is, beside its
    own past, more than `MAX_FEATURES`, which would take minutes and more rows than there are.
    penalties: those to choose from, per row, which is a train window, or one of the targets of a
    train window where they share a map; by default `PENALTIES`.
    Features are centred and not standardised: numbers are standardised already, and a flag that
    was rarely set keeps the small say that a penalty gives it. Those that never vary are dropped.
    All steps and targets share one form and one penalty: those with the least squared error on the
    validation windows, on the training scale, where every target weighs alike. Errors are compared
    at up to `NUM_COMPARED` steps spread over the horizon, as every step more takes a system per
    penalty.
    """
    best = None
    reads_own = any(form.reads == "own" for form in forms)
    for form in forms:
        layout = RidgeLayout(form, train.schema, scaling)
        if reads_own and form.reads == "all":
            if _holds_target_alone(train):
                continue
            num_features = layout(train.gather(torch.tensor([0]))).features.shape[-1]
            if num_features > MAX_FEATURES:
                logger.info("ridge: %d features are too many to try %s", num_features, form)
                continue
        found = _RidgeFit(layout, train, validation, PENALTIES if penalties is None else penalties)
        logger.info("ridge: %s, validation error %.4g", form, found.error)
        if best is None or found.error < best.error:
            best = found
    assert best is not None
    return best.finish()


class _RidgeFit:
    """The maps of one form, and how well the best of them does on validation.

    error: least mean squared error at the steps compared. penalty: the one it belongs to.
    """

    def __init__(
        self,
        layout: RidgeLayout,
        train: WindowGatherer,
        validation: WindowGatherer,
        penalties: Sequence[float],
    ) -> None:
        self.layout = layout
        self.kept, self.center = _describe_features(layout, train)
        targets, observed = _collect_outputs(layout, train)
        used = torch.nonzero(observed.any(dim=1)).flatten()
        num_groups = layout.num_groups

        def gather(rows: Tensor) -> Tensor:
            places = used[rows]
            windows, own = torch.unique(places // num_groups, return_inverse=True)
            features = layout(train.gather(windows)).features[own, places % num_groups]
            return features[:, self.kept] - self.center

        read: RowReader = gather
        if len(used) * len(self.kept) <= MAX_KEPT_NUMBERS:
            chunks = in_chunks(torch.arange(len(used)))
            read = torch.cat([gather(rows) for rows in chunks]).__getitem__
        self.problem = RidgeProblem(read, targets[used], observed[used])
        errors = self._validation_errors(validation, train.schema.horizon, penalties)
        # A penalty too small to be solved for in the arithmetic used is none to choose.
        place = int(errors.nan_to_num(nan=torch.inf).argmin())
        self.penalty, self.error = penalties[place], float(errors[place])

    def finish(self) -> RidgeForecaster:
        """Solve for all outputs."""
        maps = self.problem.solve([self.penalty])
        weights, intercepts = maps.weights[0], maps.intercepts[0]
        return RidgeForecaster(
            self.layout, self.penalty, self.kept, self.center, weights, intercepts, self.error
        )

    def _validation_errors(
        self, validation: WindowGatherer, horizon: int, penalties: Sequence[float]
    ) -> Tensor:
        """Return the mean squared error of each penalty's map, (penalty,) float64."""
        steps = torch.unique(torch.linspace(0, horizon - 1, NUM_COMPARED).round().long())
        outputs = self.layout.outputs_at(steps)
        solved = self.problem.solve(penalties, outputs)
        maps = LinearMaps(solved.weights[..., outputs], solved.intercepts[:, outputs])
        errors, count = torch.zeros(len(penalties), dtype=torch.float64), 0
        for batch in validation.batches(CHUNK):
            rows = self.layout(batch)
            features = (rows.features[..., self.kept] - self.center).flatten(end_dim=1)
            targets, observed = (
                part[..., outputs].flatten(end_dim=1) for part in (rows.targets, rows.observed)
            )
            forecast = features @ maps.weights + maps.intercepts[:, None]
            missed = (forecast - targets).double().square().masked_fill(~observed, 0.0)
            errors += missed.sum(dim=(1, 2))
            count += int(observed.sum())
        return errors / count if count else errors


def _holds_target_alone(windows: WindowGatherer) -> bool:
    schema = windows.schema
    return len(schema.streams) == 1 and len(schema.target.columns) == 1


def _describe_features(layout: RidgeLayout, train: WindowGatherer) -> tuple[Tensor, Tensor]:
    """Return which features vary over the train windows, and the means of these."""
    lowest = highest = total = None
    for batch in train.batches(CHUNK):
        found = layout(batch).features.flatten(end_dim=1)
        low, high, added = found.amin(dim=0), found.amax(dim=0), found.double().sum(dim=0)
        lowest = low if lowest is None else torch.minimum(lowest, low)
        highest = high if highest is None else torch.maximum(highest, high)
        total = added if total is None else total + added
    assert lowest is not None and highest is not None and total is not None
    kept = torch.nonzero(lowest < highest).flatten()
    return kept, (total[kept] / (len(train) * layout.num_groups)).float()


def _collect_outputs(layout: RidgeLayout, windows: WindowGatherer) -> tuple[Tensor, Tensor]:
    """Return what is to be forecast and whether it was observed, (row, output).

    Rows are windows, and within them the groups that share a map.
    """
    pieces = [layout(batch) for batch in windows.batches(CHUNK)]
    targets, observed = zip(*((rows.targets, rows.observed) for rows in pieces), strict=True)
    return torch.cat(targets).flatten(end_dim=1), torch.cat(observed).flatten(end_dim=1)
