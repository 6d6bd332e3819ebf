"""The moments of a backtest: how many, how far apart, and up to when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from mmts.config_base import Length, Months, format_period
from mmts.data.dataset import Dataset
from mmts.data.schema import DataSchema
from mmts.data.streams import Stream
from mmts.data.times import format_times
from mmts.data.windows import Windows, list_origins
from mmts.errors import ConfigError, DataError, raise_all

NUM_REFITS = 3
"""Cut-offs with a training of their own, where their number is not given."""

_LENGTH: TypeAdapter[timedelta | Months | int] = TypeAdapter(Length)


@dataclass(frozen=True)
class Cutoffs:
    """The moments to forecast from, rising; int64 microseconds.

    step: from one to the next, in steps of the forecast. begin, end: between which all origins and
    targets lie.
    empty: of the moments asked for, those at which no item has a window, so that they are left out.
    """

    moments: tuple[int, ...]
    step: int
    begin: int
    end: int
    empty: tuple[int, ...] = ()


def fault_of_windows(num_windows: int | None) -> Iterator[str]:
    """Yield what is wrong with a number of cut-offs, if anything is."""
    if num_windows is not None and num_windows < 1:
        yield f"--windows {num_windows}: forecast from one moment at least."


def count_steps(step: str, schema: DataSchema) -> int:
    """Return a distance between cut-offs in steps of the forecast.

    step: a duration such as `7d`, months, or a number of steps. Raises ConfigError for what is none
    of these, or no whole number of steps.
    """
    try:
        length = _LENGTH.validate_python(int(step) if step.strip().isdecimal() else step)
    except ValidationError:
        raise ConfigError(
            f"--step {step}: write a duration such as 24h or 7d, or a number of steps."
        ) from None
    whole = schema.clock.whole_steps(length)
    if whole is None:
        assert not isinstance(length, int)
        raise ConfigError(
            f"--step {step}: {format_period(length)} is no whole number of forecast steps of "
            f"{schema.clock}. Choose a multiple, or a number of steps."
        )
    return whole


def choose_cutoffs(
    dataset: Dataset,
    split: str,
    num_windows: int | None = None,
    step: int | None = None,
    is_refit: bool = False,
) -> Cutoffs:
    """Choose moments to forecast from; the last is the latest with a full horizon in the split.

    num_windows, step: how many, and how many forecast steps apart. Without refit these are by
    default all that lie in the split, a horizon apart: the model was trained on, or chosen by, what
    lies before it. With refit they are `NUM_REFITS`, spread over the split in whole horizons, and
    may lie before it, as far as windows to train and to validate on are left.
    Raises ConfigError for a number that is none, and DataError for more than there are.
    """
    raise_all(ConfigError, fault_of_windows(num_windows))
    target, schema = dataset.streams[dataset.schema.target_stream], dataset.schema
    begin, end = dataset.split.bounds(split)
    inside = list_origins(target, schema, begin, end)
    if len(inside) == 0:
        since, until = _words(dataset, begin, end)
        raise DataError(
            f"no window of the {split} split, {since} to {until}, has a full context and a target "
            "value in the files given. Give the files of the training."
        )
    last = int(inside.origins.max())
    behind = _steps_behind(schema, last, begin)
    if step is None:
        step = schema.horizon
        if is_refit:
            gaps = max(1, (num_windows or NUM_REFITS) - 1)
            step *= max(1, behind // (gaps * schema.horizon))
    most = behind // step + 1
    if is_refit:
        most = _count_trainable(dataset, last, step)
        if most == 0:
            raise DataError(
                "before the last cut-off there is no window to train on. Shorten the horizon or "
                "the context, or give more data."
            )
    wanted = num_windows or (min(NUM_REFITS, most) if is_refit else most)
    if wanted > most:
        raise DataError(_say_too_many(dataset, split, wanted, step, most, is_refit))
    asked = [_moment(schema, last, -place * step) for place in reversed(range(wanted))]
    if is_refit:
        # An item whose grid lies between the places of this one begins before the cut-off.
        begin = _moment(schema, asked[0], -1)
        inside = list_origins(target, schema, begin, end)
    found = place_windows(inside, target, schema, asked)[1].bincount().nonzero().flatten().tolist()
    moments = tuple(asked[place] for place in found)
    if is_refit:
        raise_all(DataError, _faults_of_validation(dataset, moments))
    empty = tuple(moment for moment in asked if moment not in moments)
    return Cutoffs(moments, step, begin, end, empty)


def place_windows(
    windows: Windows, target: Stream, schema: DataSchema, moments: list[int] | tuple[int, ...]
) -> tuple[Windows, Tensor]:
    """Return the windows of these moments, and the place of the moment of each, (window,) int64.

    An item whose grid does not hold a moment begins at the last place before it.
    """
    items, chosen, places = windows.items.long(), [], []
    for place, moment in enumerate(moments):
        elapsed = schema.clock.elapsed(target.first_time, moment)
        origins = schema.clock.advance(target.first_time, elapsed)
        here = torch.nonzero(windows.origins == origins[items]).flatten()
        chosen.append(here)
        places.append(torch.full_like(here, place))
    rows = torch.cat(chosen)
    return Windows(windows.items[rows], windows.origins[rows]), torch.cat(places)


def validation_begin(dataset: Dataset, cutoff: int) -> int:
    """Return where the validation split of a training before a cut-off begins.

    It is as long as that of the model's own training.
    """
    clock, split = dataset.schema.clock, dataset.split
    length = int(clock.elapsed(torch.tensor(split.validation), split.test))
    return _moment(dataset.schema, cutoff, -length)


def _moment(schema: DataSchema, start: int, steps: int) -> int:
    return int(schema.clock.advance(torch.tensor(start), steps))


def _steps_behind(schema: DataSchema, last: int, begin: int) -> int:
    """Count the steps from the first place of the grid that is not before `begin`."""
    return -(int(schema.clock.elapsed(torch.tensor(last), begin - 1)) + 1)


def _count_trainable(dataset: Dataset, last: int, step: int) -> int:
    """Count the cut-offs, from the last one back, with a window to train on before them."""
    schema, begin = dataset.schema, dataset.split.begin
    # The earlier a cut-off, the fewer windows: those that have any lie together.
    enough, too_many = 0, _steps_behind(schema, last, begin) // step + 2
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        cut = validation_begin(dataset, _moment(schema, last, -(middle - 1) * step))
        if _has_window(dataset, begin, cut):
            enough = middle
        else:
            too_many = middle
    return enough


def _has_window(dataset: Dataset, begin: int, end: int) -> bool:
    if end <= begin:
        return False
    target = dataset.streams[dataset.schema.target_stream]
    return len(list_origins(target, dataset.schema, begin, end, known_at=end)) > 0


def _faults_of_validation(dataset: Dataset, moments: tuple[int, ...]) -> Iterator[str]:
    for moment in moments:
        begin = validation_begin(dataset, moment)
        if not _has_window(dataset, begin, moment):
            first, cutoff = _words(dataset, begin, moment)
            yield (
                f"cut-off {cutoff}: no window to validate on from {first} up to it, with a target "
                "value that was known in time. Choose another --step or --windows."
            )


def _say_too_many(
    dataset: Dataset, split: str, wanted: int, step: int, most: int, is_refit: bool
) -> str:
    first, end = _words(dataset, *dataset.split.bounds(split))
    apart = f"{step} forecast step{'s' if step > 1 else ''} apart"
    if is_refit:
        return (
            f"--windows {wanted}: {most} cut-offs, {apart}, leave a window to train on before "
            "them. Take fewer, or a smaller --step."
        )
    return (
        f"--windows {wanted}: {most} cut-offs, {apart}, fit in the {split} split, {first} to "
        f"{end}. The model was trained on what lies before, so that its errors there say nothing. "
        "Take fewer, a smaller --step, or --refit, which trains a model before each cut-off."
    )


def _words(dataset: Dataset, *moments: int) -> list[str]:
    schema = dataset.schema
    times = torch.tensor(moments).numpy()
    return list(format_times(times, schema.has_time_zone, schema.time_zone))
