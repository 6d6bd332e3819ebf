"""Columns that hold the target of another time: what would tell a model what is to come."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mmts.data.config import Role
from mmts.data.findings.coverage import Coverage
from mmts.data.findings.excerpt import choose_excerpt, cut_excerpt
from mmts.data.findings.finding import Finding
from mmts.data.scaling import StreamScaling
from mmts.data.schema import DataSchema
from mmts.data.streams import Stream

MIN_PAIRS = 50
"""Pairs of a value and a target that must be there before anything is said."""

MIN_SHARE = 0.99
"""Share of the pairs that must be equal."""

_FIRST_LOOK, _SECOND_LOOK = 200, 20_000
"""Changes of the target that are held against a column: at all shifts, and where it seems equal."""

_MAX_SHIFT = 2_000

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class _Column(NamedTuple):
    """A number column: values (row,) in its own units, and how far rounding may have moved them."""

    values: Floats
    rounding: Floats


class _Match(NamedTuple):
    """A column equals the target so many steps later, in a share of so many pairs."""

    shift: int
    share: float
    num_pairs: int


def find_leaks(
    schema: DataSchema, streams: dict[str, Stream], scaling: dict[str, StreamScaling]
) -> list[Finding]:
    """Find number columns on the target's clock that equal a target which is not yet known.

    A past column tells too much when its value at t is the target at t + k and becomes known
    before that does; a future column also when it is the target of its own time, or of less than
    a horizon before. Only places where the target changes count: where it stays, its own past
    tells as much, and so it does of a target that repeats itself, which is let go. Of large
    streams an excerpt is read, rows are sampled and shifts are at most a horizon, so that time and
    memory are bounded.
    """
    streams = {
        name: stream
        for name, stream in streams.items()
        if stream.schema.clock == schema.clock and stream.schema.calendar is None
    }
    excerpt = choose_excerpt(streams[schema.target_stream])
    if excerpt is not None:
        margin = min(schema.horizon, _MAX_SHIFT)
        streams = {name: cut_excerpt(s, excerpt, margin) for name, s in streams.items()}
    target = streams[schema.target_stream]
    coverage = Coverage.of(target, scaling[schema.target_stream])
    names = [column.name for column in target.schema.columns]
    found = []
    for name in schema.target_columns:
        target_values = _Target(schema, coverage, names.index(name))
        if len(target_values.changes) < MIN_PAIRS or target_values.repeats_itself():
            continue
        for other, stream in streams.items():
            pair = _Pair(target_values, Coverage.of(stream, scaling[other]))
            found += [
                Finding("leak", other, column.name, _say(match, column.role, name))
                for place, column in enumerate(stream.schema.columns)
                if column.type == "number"
                and (other != schema.target_stream or column.name != name)
                if (match := pair.latest_match(place)) is not None
            ]
    return found


def _say(match: _Match, role: Role, target: str) -> str:
    steps = f"{abs(match.shift)} step{'' if abs(match.shift) == 1 else 's'}"
    when = "of its own time"
    if match.shift:
        when = f"{steps} {'later' if match.shift > 0 else 'earlier'}"
    remedy = "take it out, or state by 'delay' or 'available_at' when it is really known"
    if role == "future":
        remedy = "take it out of 'future'"
    return (
        f"equals the target {target!r} {when} in {match.share:.1%} of {match.num_pairs:,} places "
        f"where that changes, and so gives away what is to be forecast. If it is not known so "
        f"early, {remedy}."
    )


class _Target:
    """A column to forecast, and the rows at which it changes."""

    def __init__(self, schema: DataSchema, coverage: Coverage, place: int) -> None:
        self.schema = schema
        self.coverage = coverage
        self.column = _column(coverage, place)
        values, rounding = self.column
        moved = np.abs(np.diff(values)) > rounding[1:] + rounding[:-1]
        moved &= coverage.items[1:] == coverage.items[:-1]
        # In an order of chance, so that the first few of them are a fair sample.
        found = np.flatnonzero(np.append(False, moved))
        self.changes: Integers = np.random.default_rng(0).permutation(found)
        self.place = place

    @property
    def max_shift(self) -> int:
        """The largest shift that is tried, in steps."""
        return min(self.schema.horizon, _MAX_SHIFT)

    def repeats_itself(self) -> bool:
        """Whether it is what it was some steps ago: then any older value tells it."""
        pair = _Pair(self, self.coverage)
        return pair.last_equal(self.place, np.arange(-3 * self.max_shift, 0)) is not None


class _Pair:
    """A target, and a stream on the same clock."""

    def __init__(self, target: _Target, other: Coverage) -> None:
        self.target = target
        self.other = other
        clock, stream, base = target.schema.clock, other.stream, target.coverage.stream
        since = clock.elapsed(stream.first_time, base.first_time)
        aligned = clock.advance(stream.first_time, since) == base.first_time
        aligned &= stream.begin < stream.end
        # From a row of the target to the row of the stream that begins with it.
        offset = (stream.begin + since - base.begin).numpy()
        items = target.coverage.items[target.changes]
        usable = aligned.numpy()[items]
        self.rows, items = target.changes[usable], items[usable]
        self.places = self.rows + offset[items]
        self.begin, self.end = stream.begin.numpy()[items], stream.end.numpy()[items]

    def latest_match(self, place: int) -> _Match | None:
        """Return the largest shift at which a column gives the target away, if there is one."""
        role = self.other.stream.schema.columns[place].role
        most = self.target.max_shift
        shifts = np.arange(1 - most, most + 1)
        early = shifts[[self._is_early(int(shift), role) for shift in shifts]]
        return self.last_equal(place, early)

    def last_equal(self, place: int, shifts: Integers) -> _Match | None:
        """Return the largest of some shifts at which the target equals a column."""
        column = _column(self.other, place)
        shares, _ = self._compare(column, shifts, _FIRST_LOOK)
        for shift in shifts[shares >= MIN_SHARE - 0.05][::-1]:
            share, count = self._compare(column, np.array([shift]), _SECOND_LOOK)
            if share[0] >= MIN_SHARE and count[0] >= MIN_PAIRS:
                return _Match(int(shift), float(share[0]), int(count[0]))
        return None

    def _compare(self, column: _Column, shifts: Integers, limit: int) -> tuple[Floats, Integers]:
        """Hold the column at t against the target at t + shift.

        Returns the share of pairs that are equal, and the number of pairs, both (shift,).
        """
        rows, begin, end = self.rows[:limit], self.begin[:limit], self.end[:limit]
        places = self.places[:limit] - shifts[:, None]
        inside = (places >= begin) & (places < end)
        places = np.where(inside, places, 0)
        own = self.target.column
        difference = np.abs(column.values[places] - own.values[rows])
        both = inside & ~np.isnan(difference)
        equal = both & (difference <= column.rounding[places] + own.rounding[rows])
        count = both.sum(axis=1)
        return equal.sum(axis=1) / np.maximum(count, 1), count

    def _is_early(self, shift: int, role: Role) -> bool:
        """Whether the column's value at t is known before the target at t + shift is."""
        schema, period = self.other.stream.schema, self.target.schema.clock.period
        late = self.other.lateness
        if len(late):
            return (role == "future" or shift > 0) and shift * period > float(np.median(late))
        if role != "future":
            return shift > 0 and shift * period > schema.delay
        return schema.known_ahead is None or (shift + 1) * period > -schema.known_ahead


def _column(coverage: Coverage, place: int) -> _Column:
    values = coverage.values(place)
    number = coverage.scaling.numbers[coverage.stream.schema.columns[place].name]
    # Values are kept as float32 of what is scaled, and so rounded around the mean.
    rounding = float(np.finfo(np.float32).eps) * np.abs(values - number.mean)
    return _Column(values, rounding + 1e-12 * abs(number.mean))
