"""Streams taken away from a model, or given to it in another order, to see what they are worth.

They are worth it to this one model, which learned to count on them: another, trained without a
stream, may make up for part of what it told.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mmts.data.dataset import Dataset
from mmts.data.schema import DataSchema
from mmts.data.streams import Stream, empty_stream
from mmts.errors import DataError, nearest, raise_all

SEED = 0
"""Of the order in which shuffled rows get their values."""


@dataclass(frozen=True)
class Ablation:
    """Which streams are missing, and of which the content is shuffled, in the schema's order."""

    without: tuple[str, ...] = ()
    shuffled: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Say it, as in `without stream weather, with stream news shuffled`; empty for nothing."""
        parts = []
        if self.without:
            parts.append(f"without {_streams(self.without)}")
        if self.shuffled:
            parts.append(f"with {_streams(self.shuffled)} shuffled")
        return ", ".join(parts)

    @property
    def path(self) -> str:
        """Name it as a place in a folder, such as `without/weather`; empty for nothing."""
        parts = []
        if self.without:
            parts.append(f"without/{'-'.join(self.without)}")
        if self.shuffled:
            parts.append(f"shuffled/{'-'.join(self.shuffled)}")
        return "/".join(parts)


def choose_ablation(
    schema: DataSchema, without: Sequence[str] = (), shuffled: Sequence[str] = ()
) -> Ablation:
    """Check that these streams can be left out and shuffled.

    Raises DataError for a stream that does not exist, for that of the target, and for one that is
    to be both.
    """
    others = [name for name in schema.streams if name != schema.target_stream]
    listing = f"there are {', '.join(others)}" if others else "there is no other"
    problems = []
    for names, done in ((without, "left out"), (shuffled, "shuffled")):
        for name in dict.fromkeys(names):
            if name == schema.target_stream:
                problems.append(
                    f"stream {name!r} cannot be {done}: it holds the target, whose past is what a "
                    f"forecast goes on from. Name another; {listing}."
                )
            elif name not in others:
                hint = nearest(name, others, f"; {listing}.")
                problems.append(f"stream {name!r} cannot be {done}: it does not exist{hint}")
    problems += [
        f"stream {name!r} cannot be both left out and shuffled. Name it once."
        for name in others
        if name in without and name in shuffled
    ]
    raise_all(DataError, problems)
    return Ablation(
        tuple(name for name in others if name in without),
        tuple(name for name in others if name in shuffled),
    )


def leave_out(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """Return the data as if these streams were absent for every item."""
    absent = {
        name: empty_stream(dataset.schema.streams[name], len(dataset.items)) for name in names
    }
    return replace(dataset, streams={**dataset.streams, **absent})


def shuffle(dataset: Dataset, names: Sequence[str], seed: int = SEED) -> Dataset:
    """Return the data with the rows of these streams holding one another's values.

    A row gets all values of another row of the same item, with what was observed of them; of a
    static stream, those of another item. When rows are, and when they became known, stays: what
    the stream tells by being there is left, and what it tells by what it holds is gone. Rows that
    hold nothing stay as they are, and no other row keeps its own values.
    All times take part, before and after every cut: this is a control, and no forecast.
    """
    shuffled = {}
    for name in names:
        # By name, so that two streams of one clock are not shuffled alike.
        generator = torch.Generator().manual_seed(seed + zlib.crc32(name.encode()))
        shuffled[name] = _shuffle(dataset.streams[name], generator)
    return replace(dataset, streams={**dataset.streams, **shuffled})


def describe_ablation(dataset: Dataset, ablation: Ablation) -> Iterator[str]:
    """Say who reads what of the streams that are missing or shuffled."""
    if ablation.without:
        yield (
            f"without {_streams(ablation.without)}: absent for the model, and the ridge is fitted "
            "without; last value and seasonal naive read the target alone"
        )
    if ablation.shuffled:
        yield (
            f"with {_streams(ablation.shuffled)} shuffled for the model alone: the baselines read "
            "what stands in the files"
        )
    yield from describe_idle(dataset, ablation.shuffled)


def describe_idle(dataset: Dataset, names: Sequence[str]) -> Iterator[str]:
    """Name the streams in which no two rows can change places."""
    for name in names:
        stream = dataset.streams[name]
        if not any(len(rows) > 1 for rows in _swappable_rows(stream)):
            if not stream.schema.is_static:
                why = "no item has two rows that hold a value"
            elif len(dataset.items) == 1:
                why = "it is static, and there is only one item"
            else:
                why = "it is static, and no two items have rows of their own"
            yield f"shuffling stream {name} does nothing: {why}"


def _shuffle(stream: Stream, generator: torch.Generator) -> Stream:
    sources = torch.arange(len(stream.values))
    for rows in _swappable_rows(stream):
        # One cycle through all rows: a plain permutation of two rows leaves them half of the time.
        order = rows[torch.randperm(len(rows), generator=generator)]
        sources[order] = order.roll(1)
    return replace(stream, values=stream.values[sources], observed=stream.observed[sources])


def _swappable_rows(stream: Stream) -> Iterator[Tensor]:
    """Yield groups of rows whose values may change places, each (row,) int64."""
    holds_value = stream.observed.any(dim=1)
    # A stream without items gives the same rows to all of them.
    bounds = torch.unique(torch.stack([stream.begin, stream.end], dim=1), dim=0).tolist()
    groups = [
        begin + torch.nonzero(holds_value[begin:end]).flatten()
        for begin, end in bounds
        if end > begin
    ]
    if stream.schema.is_static and groups:
        groups = [torch.cat(groups)]
    yield from groups


def _streams(names: Sequence[str]) -> str:
    return f"stream{'s' if len(names) > 1 else ''} {', '.join(names)}"
