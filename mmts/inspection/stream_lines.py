"""The keys of one stream, and what was measured of it, for the config."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd

from mmts.config_base import Months, format_period
from mmts.inspection.columns import Column
from mmts.inspection.file_report import is_known_name
from mmts.inspection.lengths import Lengths
from mmts.inspection.rhythm import length_of, measure_rhythm
from mmts.inspection.roles import StreamPlan
from mmts.inspection.stand_ins import find_stand_ins
from mmts.inspection.yaml_lines import Bare, Entry, Node, Remark

_SPARSE = 0.6
"""Share of empty cells above which a target stands on a grid too fine for it."""

_FEWEST_ROWS, _MOST_ROWS = 8, 672
"""Rows that the context of another stream should hold."""


def describe_rows(plan: StreamPlan) -> str:
    """Say how many rows there are, how far apart, from when to when, and what is missing."""
    report = plan.report
    said = f"{report.num_rows:,} rows"
    if report.item is not None:
        said += f" of {len(report.items)} item{'s' * (len(report.items) > 1)}"
    if report.table.is_partial:
        said = f"the first {said} looked at, the file goes on"
    rhythm = report.rhythm
    if rhythm is None:
        return f"{said}, one per item."
    first, last = (pd.Timestamp(moment, unit="us") for moment in (rhythm.first, rhythm.last))
    span = f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    if rhythm.period is None:
        return f"{said} on no grid, {span}."
    gaps = f"{rhythm.num_missing:,} rows missing" if rhythm.num_missing else "no gap"
    return f"{said}, one {rhythm.words}, {span}, {gaps}."


def stream_entries(
    plan: StreamPlan, target: StreamPlan, lengths: Lengths, path: str, has_time_zone: bool
) -> list[Node]:
    """Return everything that the config says of a stream.

    path: of its file, relative to data.root. has_time_zone: whether times of any stream state one.
    """
    report = plan.report
    nodes: list[Node] = [*_left_out(plan, target), Entry("path", path)]
    nodes += _reading(plan)
    if report.times is not None and report.time is not None:
        nodes.append(Entry("time", report.time, report.times.note and f"{report.times.note}"))
        if report.times.format is not None:
            nodes.append(Entry("time_format", report.times.format))
        if has_time_zone and not report.times.has_time_zone:
            why = "no UTC offset is written, as other files have one; put the right zone"
            nodes.append(Entry("time_zone", "UTC", why))
    if report.item is not None:
        nodes.append(Entry("item", report.item))
    nodes += [Remark(remark) for remark in warnings_of(plan)]
    nodes += _columns(plan)
    nodes += find_stand_ins(plan).entries()
    if report.rhythm is None:
        return nodes
    return nodes + _clock(plan, target, lengths)


def warnings_of(plan: StreamPlan) -> list[str]:
    """Return what there is to say of a stream as a whole, here and in the terminal."""
    said = [*plan.remarks, *_warn_of_sparse_target(plan)]
    unlike = plan.report.unlike_known
    if unlike is not None:
        said.append(
            f"{unlike} looks like the time at which a row was known, but it is not written as "
            f"{plan.report.time} is, in format or UTC offset. Write both alike to use it as "
            "available_at; until then a row counts as known once its period is over."
        )
    return said


def _warn_of_sparse_target(plan: StreamPlan) -> list[str]:
    """Say when most rows of the target's file hold none of its values."""
    return [
        f"{column.name} has a value in {1 - column.empty:.1%} of the rows alone"
        f"{'; ' + own if (own := _own_rhythm(plan, column)) else ''}. A file of its own, with "
        "these rows only, would be forecast on its own clock."
        for column in plan.target
        if column.empty > _SPARSE
    ]


def _left_out(plan: StreamPlan, target: StreamPlan) -> list[Node]:
    """Say of every column that is not read why."""
    report = plan.report
    if plan.is_text and plan.report.path == target.report.path:
        return []
    reasons: dict[str, list[str]] = {}
    for column in report.columns.values():
        if column.kind == "left out":
            reasons.setdefault(column.why, []).append(column.name)
        elif column.kind == "text" and not plan.is_text and report.time is not None:
            reasons.setdefault("prose, which has a stream of its own", []).append(column.name)
        elif column not in plan.columns:
            reasons.setdefault("no part of this stream", []).append(column.name)
    for name in _dates_left_out(plan):
        reasons.setdefault("dates as well", []).append(name)
    for name in report.ambiguous:
        reasons.setdefault("dates of which day and month cannot be told", []).append(name)
    return [
        Remark(f"Left out: {', '.join(names[:12])}{_more(names)} ({why}).")
        for why, names in reasons.items()
    ]


def names_left_out(plan: StreamPlan) -> list[str]:
    """Return the columns of a file that hold nothing to learn from, and the dates beside."""
    left = [c.name for c in plan.report.columns.values() if c.kind == "left out"]
    return left + _dates_left_out(plan)


def _dates_left_out(plan: StreamPlan) -> list[str]:
    return [name for name in plan.report.other_times if name != _known_at(plan)]


def _known_at(plan: StreamPlan) -> str | None:
    """Return the column that tells when the rows of a stream were known, if it is of use.

    That of the end of a row's period says no more of its numbers than the period does.
    """
    known = plan.report.available_at
    return known if plan.is_text or is_known_name(known) else None


def _more(names: list[str]) -> str:
    return f" and {len(names) - 12} more" if len(names) > 12 else ""


def _reading(plan: StreamPlan) -> list[Node]:
    table, style = plan.report.table, plan.report.style
    nodes: list[Node] = []
    if table.encoding is not None:
        nodes.append(Entry("encoding", table.encoding, "the file is not UTF-8"))
    if table.delimiter is not None:
        nodes.append(Entry("delimiter", table.delimiter))
    if plan.is_text:
        return nodes
    if style.decimal != "." or (style.note and style.thousands is None):
        nodes.append(Entry("decimal", style.decimal, style.note))
    if style.thousands is not None:
        nodes.append(Entry("thousands", style.thousands, style.note))
    return nodes


def _columns(plan: StreamPlan) -> list[Node]:
    nodes: list[Node] = []
    if plan.is_text:
        shown = {c.name: _with_empty(c.why, c) for c in plan.past}
        return [Entry("text", [c.name for c in plan.past], "prose, known once its row is", shown)]
    whys = {
        "target": "forecast this",
        "past": "known up to the origin",
        "future": "known over the horizon as well",
        "static": "one value per item",
    }
    for role, columns in (
        ("target", plan.target), ("past", plan.past),
        ("future", plan.future), ("static", plan.static),
    ):  # fmt: skip
        if columns:
            notes = {c.name: note for c in columns if (note := _note(plan, c))}
            nodes.append(Entry(role, [c.name for c in columns], whys[role], notes))
    for kind in ("category", "flag"):
        named = [c for c in plan.columns if c.kind == kind]
        if named:
            notes = {c.name: c.why for c in named if c.why}
            nodes.append(Entry(kind, [c.name for c in named], "", notes))
    hashed = [Entry(c.name, c.buckets) for c in plan.columns if c.buckets is not None]
    if hashed:
        nodes.append(Entry("hash_buckets", hashed, "Names are very many; some will share a place."))
    return nodes


def _note(plan: StreamPlan, column: Column) -> str:
    said = [plan.notes[column.name]] if column.name in plan.notes else []
    if column.empty > 0:
        said.append(_empty(column))
    own = _own_rhythm(plan, column)
    if own:
        said.append(own)
    far = _far_off(column)
    if far:
        said.append(far)
    return "; ".join(said)


def _empty(column: Column) -> str:
    share = column.empty
    return "under 0.1% empty" if share < 0.001 else f"{share:.{0 if share >= 0.1 else 1}%} empty"


def _with_empty(said: str, column: Column) -> str:
    return f"{said}; {_empty(column)}" if column.empty > 0 else said


def _own_rhythm(plan: StreamPlan, column: Column) -> str:
    """Say when a column has values at a slower rate than the rows of its file."""
    report = plan.report
    if column.empty < 0.3 or column.values is None or report.times is None:
        return ""
    assert report.rhythm is not None
    known = np.isfinite(column.values)
    if known.sum() < 3 or report.rhythm.period is None:
        return ""
    codes = None if report.codes is None else report.codes[known]
    own = measure_rhythm(report.times.moments[known], codes)
    if own.period is None or own.typical <= length_of(report.rhythm.period):
        return ""
    return f"a value {own.words}"


def _far_off(column: Column) -> str:
    """Say when the greatest or least value lies far from all others."""
    if column.values is None:
        return ""
    values = np.unique(column.values[np.isfinite(column.values)])
    if len(values) < 20:
        return ""
    rest = values[1:-1]
    spread = float(rest.max() - rest.min())
    for value in (values[-1], values[0]):
        if min(abs(value - rest.max()), abs(value - rest.min())) > 2 * spread:
            return f"{value:g} lies far from all others: see valid_range"
    return ""


def describe_duplicates(plan: StreamPlan) -> tuple[str, str] | None:
    """Return what is done about rows that share item and time, and what to say; None without."""
    report = plan.report
    if report.rhythm is None or not report.rhythm.num_repeated:
        return None
    shared = f"{'item and ' if report.item else ''}time with another"
    said = f"{report.rhythm.num_repeated:,} rows share {shared}"
    if plan.is_text:
        return "last", f"{said}; join them to keep all"
    return "mean", f"{said}: their mean is taken"


def _clock(plan: StreamPlan, target: StreamPlan, lengths: Lengths) -> list[Node]:
    report = plan.report
    assert report.rhythm is not None and report.times is not None
    nodes: list[Node] = []
    duplicates = describe_duplicates(plan)
    if duplicates is not None:
        nodes.append(Entry("duplicates", *duplicates))
    is_target = plan is target
    period = report.rhythm.period
    if not plan.is_text and period is not None:
        why = "as the rows stand" if is_target else "its own clock; nothing is resampled"
        nodes.append(Entry("frequency", Bare(format_period(period)), why))
    elif period is not None and is_known_name(report.time) and not report.times.is_date:
        why = "published at that time, and known from then on"
        nodes.append(Entry("stamp", "event", why))
    elif not plan.is_text:
        nodes.append(Entry("stamp", "event", "on no grid: each row is known at its own time"))
    if is_target:
        nodes.append(Entry("context_length", Bare(lengths.context), lengths.context_why))
    else:
        nodes += _context(plan, target, lengths)
    known = _known_at(plan)
    if known is not None:
        whole_day = ", from the end of that day" if report.other_times[known].is_date else ""
        nodes.append(Entry("available_at", known, f"when a row was known{whole_day}"))
    elif period is None and report.times.is_date:
        # Prose is counted so by itself; a stated stamp is taken as it is.
        delay = "0h" if plan.is_text else "1d"
        why = "a date tells no time of day, so a row is known when its day is over"
        nodes.append(Entry("delay", Bare(delay), why))
    else:
        over = "at its time" if period is None else "once its period is over"
        why = f"a row is known {over}; put 2h if it reaches you two hours later"
        nodes.append(Entry("delay", Bare("0h"), why))
    return nodes


def _context(plan: StreamPlan, target: StreamPlan, lengths: Lengths) -> list[Node]:
    """Return the context of another stream where the target's holds too few or too many rows."""
    rhythm = plan.report.rhythm
    home = target.report.rhythm
    assert rhythm is not None and home is not None and home.period is not None
    span = lengths.context_steps * length_of(home.period)
    step = _median_step(plan) if rhythm.period is None else length_of(rhythm.period)
    rows = span / max(step, 1)
    if rows < _FEWEST_ROWS:
        why = f"rows; the target's context would hold {rows:.2g}"
        return [Entry("context_length", _FEWEST_ROWS, why)]
    if rows <= _MOST_ROWS or rhythm.period is None:
        return []
    why = f"{_MOST_ROWS} rows; the target's context would hold {rows:,.0f}"
    if isinstance(rhythm.period, Months):
        return [Entry("context_length", _MOST_ROWS, why)]
    length = rhythm.period * _MOST_ROWS
    return [Entry("context_length", Bare(format_period(_rounded(length))), why)]


def _rounded(length: timedelta) -> timedelta:
    day = timedelta(days=1)
    return length if length < day else (length // day) * day


def _median_step(plan: StreamPlan) -> int:
    assert plan.report.times is not None
    steps = np.diff(np.unique(plan.report.times.moments))
    return int(np.median(steps)) if len(steps) else 1
