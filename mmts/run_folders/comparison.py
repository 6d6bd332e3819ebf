"""Runs beside each other: where their configs differ, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmts.run_folders.evaluations import MEASURES, MODEL, KeptEvaluation
from mmts.run_folders.folder import RunFolder
from mmts.run_folders.history import mean_speed

ABSENT = "absent"
"""Stands for a key that a config does not have."""

_LABELS = {"crps_by_quantiles": "CRPS", "coverage": "coverage"}
_MEASURED_ON = (
    "data.horizon", "data.frequency", "data.split", "data.exclude_items", "model.head.kind",
    "model.head.quantile_levels",
)  # fmt: skip
"""What decides what a validation loss is a loss of."""


@dataclass(frozen=True)
class Comparison:
    """Runs side by side; all tuples are in their order.

    config: the keys in which they differ; ABSENT where one has no such key.
    metrics: what was measured; None where it was not. notes: what forbids to compare them.
    """

    runs: tuple[str, ...]
    config: dict[str, tuple[Any, ...]]
    metrics: dict[str, tuple[float | None, ...]]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values; a key that a config lacks is null."""
        return {
            "runs": list(self.runs),
            "config": {
                key: [None if value is ABSENT else value for value in values]
                for key, values in self.config.items()
            },
            "metrics": {name: list(values) for name, values in self.metrics.items()},
            "notes": list(self.notes),
        }


def compare_runs(runs: Sequence[RunFolder]) -> Comparison:
    """Set runs beside each other."""
    config = compare_settings(*(run.settings for run in runs))
    notes = [f"{run.name}: {note}" for run in runs for note in run.notes]
    notes += _cautions(runs, config)
    return Comparison(
        runs=tuple(run.name for run in runs),
        config=config,
        metrics=dict(_metrics(runs)),
        notes=tuple(notes),
    )


def compare_settings(*settings: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Return the keys in which configs differ, edges by name; ABSENT where one has no such key."""
    return dict(_differences([_by_name(dict(held)) for held in settings]))


def _by_name(value: Any) -> Any:
    """Return settings with lists of named groups, such as edges, as groups by name."""
    if isinstance(value, dict):
        return {str(key): _by_name(held) for key, held in value.items()}
    if isinstance(value, list) and value and all(_name_of(held) for held in value):
        return {_name_of(held): _by_name(held) for held in value}
    return value


def _name_of(value: Any) -> str | None:
    name = value.get("name") if isinstance(value, dict) else None
    return name if isinstance(name, str) else None


def _differences(values: Sequence[Any], path: str = "") -> Iterator[tuple[str, tuple[Any, ...]]]:
    if all(value == values[0] for value in values):
        return
    # An empty list is what a list of groups is without any.
    groups = [{} if value == [] else value for value in values]
    if not all(isinstance(group, dict) for group in groups):
        yield path, tuple(values)
        return
    for key in dict.fromkeys(key for group in groups for key in group):
        below = f"{path}.{key}" if path else key
        yield from _differences([group.get(key, ABSENT) for group in groups], below)


def _metrics(runs: Sequence[RunFolder]) -> Iterator[tuple[str, tuple[float | None, ...]]]:
    best = [run.best for run in runs]
    yield "validation loss", tuple(None if b is None else b.validation_loss for b in best)
    yield "best epoch", tuple(None if b is None else b.number for b in best)
    yield "epochs", tuple(run.num_epochs for run in runs)
    yield "windows/s", tuple(mean_speed(run.epochs) for run in runs)
    said: dict[str, tuple[float | None, ...]] = {}
    for place in dict.fromkeys(found.place for run in runs for found in run.evaluations):
        evaluations = [_at(run, place) for run in runs]
        for measure in MEASURES:
            scores = tuple(_score(found, MODEL, measure) for found in evaluations)
            if any(score is not None for score in scores):
                yield f"{place}: {say_measure(measure)}", scores
        methods = dict.fromkeys(m for found in evaluations if found for m in found.scores)
        for method in methods:
            scores = tuple(_score(found, method, "mae") for found in evaluations)
            # A variant that changes nothing for a baseline says it no second time.
            if method != MODEL and said.get(method) != scores:
                said[method] = scores
                yield f"{place}: MAE of {method}", scores


def say_measure(measure: str) -> str:
    """Write a measure as tables do."""
    return _LABELS.get(measure, measure.upper())


def _at(run: RunFolder, place: str) -> KeptEvaluation | None:
    return next((found for found in run.evaluations if found.place == place), None)


def _score(found: KeptEvaluation | None, method: str, measure: str) -> float | None:
    return None if found is None else found.scores.get(method, {}).get(measure)


def _cautions(runs: Sequence[RunFolder], config: dict[str, Any]) -> Iterator[str]:
    targets = dict.fromkeys(_targets_of(run.settings) for run in runs)
    if len(targets) > 1:
        yield f"the targets differ ({'; '.join(targets)}): no error can be compared"
    measured = [
        key for key in config if any(f"{key}.".startswith(f"{name}.") for name in _MEASURED_ON)
    ]
    if measured:
        yield (
            f"{', '.join(measured)} differ: the validation losses are of different things and "
            "cannot be compared"
        )
    changed = _changed_data(runs)
    if changed:
        yield f"the data of {', '.join(changed)} are not the same in all runs"
    for place in dict.fromkeys(found.place for run in runs for found in run.evaluations):
        evaluations = [found for run in runs if (found := _at(run, place))]
        spans = {(*found.dates, found.num_windows) for found in evaluations}
        if len(spans) > 1:
            said = "; ".join(f"{a} to {b}, {n} windows" for a, b, n in sorted(spans))
            yield f"{place}: other windows were evaluated: {said}"
    for run in runs:
        best = run.description.get("epoch")
        for found in run.evaluations:
            if isinstance(best, int) and found.epoch != best:
                yield (
                    f"{run.name}: {found.place}: of epoch {found.epoch}, and best.mmts is of epoch "
                    f"{best}: evaluate again"
                )


def _targets_of(settings: dict[str, Any]) -> str:
    data = settings.get("data")
    streams = data.get("streams") if isinstance(data, dict) else None
    found = []
    for name, stream in streams.items() if isinstance(streams, dict) else ():
        columns = stream.get("target") if isinstance(stream, dict) else None
        named = columns if isinstance(columns, list | tuple) else ()
        found += [f"{name}.{column}" for column in named]
    return ", ".join(found) or "none"


def _changed_data(runs: Sequence[RunFolder]) -> list[str]:
    """Return the streams that two runs both read, from files of other content."""
    prints = [run.description.get("fingerprint") for run in runs]
    # Nothing of it was checked, and a damaged checkpoint may hold anything for a hash.
    known = [
        {stream: digest for stream, digest in found.items() if isinstance(digest, str)}
        for found in prints
        if isinstance(found, dict)
    ]
    changed = []
    for stream in dict.fromkeys(name for found in known for name in found):
        if len({found[stream] for found in known if stream in found}) > 1:
            changed.append(stream)
    return changed
