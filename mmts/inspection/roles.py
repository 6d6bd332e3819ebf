"""Which stream each file becomes, and which role each of its columns plays beside the target."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmts.config_base import format_period
from mmts.data.reading.sources import stem_of
from mmts.errors import DataError, nearest, raise_all
from mmts.inspection.columns import Column
from mmts.inspection.file_report import FileReport
from mmts.inspection.items import is_item_name
from mmts.inspection.numbers import read_numbers
from mmts.inspection.rhythm import Rhythm, length_of

_FORECAST_NAME = re.compile(r"forecast|day[-_ ]?ahead", re.IGNORECASE)
_FUTURE_NAME = re.compile(
    r"forecast|day[-_ ]?ahead|plan|schedul|holiday|timetable|roster", re.IGNORECASE
)
_MOST_SHIFTS = 48
"""Steps by which a column is shifted to see whether it tells the target's future."""


@dataclass
class StreamPlan:
    """One stream of the config: columns by role, what each is, and what there is to say.

    notes: per column. remarks: of the stream as a whole.
    """

    name: str
    report: FileReport
    target: list[Column] = field(default_factory=list)
    past: list[Column] = field(default_factory=list)
    future: list[Column] = field(default_factory=list)
    static: list[Column] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    is_text: bool = False

    @property
    def columns(self) -> list[Column]:
        """All columns that the stream reads."""
        return [*self.target, *self.past, *self.future, *self.static]


@dataclass
class Roles:
    """All streams, the target's first, and the files that none was made of, with the reason."""

    streams: list[StreamPlan]
    unused: dict[Path, str] = field(default_factory=dict)

    @property
    def target(self) -> StreamPlan:
        """The stream of the target."""
        return self.streams[0]


def find_target(reports: Sequence[FileReport], targets: Sequence[str]) -> FileReport:
    """Return the file that holds all targets, and see to it that they are numbers.

    targets: columns, each perhaps behind the name of its file and a dot.
    Raises DataError when a target is missing, stands in several files, or is no number.
    """
    names = name_streams(reports)
    homes: list[FileReport] = []
    problems = []
    for target in targets:
        found = [r for r, s in zip(reports, names, strict=True) if _column_of(target, s, r)]
        if len(found) == 1:
            homes.append(found[0])
            continue
        if found:
            ways = " or ".join(
                f"{s}.{target}" for r, s in zip(reports, names, strict=True) if r in found
            )
            problems.append(f"--target {target}: stands in {len(found)} files. Write {ways}.")
        else:
            known = [name for r in reports for name in r.columns]
            problems.append(f"--target {target}: no such column{nearest(target, known)}")
    if not targets:
        problems.append("no target: name the column to forecast by --target.")
    if problems:
        raise DataError("\n".join([*problems, "Columns of numbers:", *_list_numbers(reports)]))
    if len({id(home) for home in homes}) > 1:
        files = ", ".join(str(home.path) for home in dict.fromkeys(homes))
        raise DataError(f"the targets stand in {files}; they have to stand in one file.")
    home = homes[0]
    raise_all(DataError, _make_targets(home, resolve_targets(reports, home, targets)))
    return home


def resolve_targets(
    reports: Sequence[FileReport], home: FileReport, targets: Sequence[str]
) -> list[str]:
    """Return the columns that targets mean, each once, however often it is named."""
    streams = dict(zip(map(id, reports), name_streams(reports), strict=True))
    return list(dict.fromkeys(_column_of(t, streams[id(home)], home) or t for t in targets))


def name_only_target(reports: Sequence[FileReport]) -> list[str]:
    """Return the only column of numbers there is beside times; none where there are several."""
    found = [
        column.name
        for report in reports
        if report.time is not None
        for column in report.kept
        if column.kind == "number"
    ]
    return found if len(found) == 1 else []


def _column_of(target: str, stream: str, report: FileReport) -> str | None:
    if target in report.columns:
        return target
    column = target.removeprefix(f"{stream}.")
    return column if column != target and column in report.columns else None


def _list_numbers(reports: Sequence[FileReport]) -> list[str]:
    listed = []
    for report in reports:
        numbers = [column.name for column in report.kept if column.kind == "number"]
        more = f" and {len(numbers) - 20} more" if len(numbers) > 20 else ""
        if report.time is None:
            listed.append(f"  {report.path}: none, as no column tells times.{_seen(report)}")
        else:
            listed.append(f"  {report.path}: {', '.join(numbers[:20]) or 'none'}{more}")
    return listed


def _make_targets(report: FileReport, targets: Sequence[str]) -> list[str]:
    """Read the targets as numbers, whatever they were taken for; return what is wrong."""
    problems = []
    for name in targets:
        where = f"{report.path}, column {name!r}:"
        column = report.columns.get(name)
        if column is None:
            continue
        numbers = read_numbers(report.table.cells[name], report.style)
        if numbers is None:
            said = f" ({column.why})" if column.why else ""
            problems.append(f"{where} holds no numbers{said}, and cannot be forecast.")
        elif len(np.unique(numbers.values[np.isfinite(numbers.values)])) < 2:
            problems.append(f"{where} has the same value throughout; nothing is to be forecast.")
        else:
            empty = float(np.isnan(numbers.values).mean())
            report.columns[name] = Column(
                name, "number", "", empty, numbers.words, numbers.sentinels, None, numbers.values
            )
    if report.time is None:
        problems.append(f"{report.path}: no column of times; a target needs one.{_seen(report)}")
    elif report.rhythm is not None and report.rhythm.period is None:
        problems.append(
            f"{report.path}, column {report.time!r}: a target stands on a regular grid, and "
            f"{_off_grid(report, report.rhythm)}"
        )
    return problems


def _off_grid(report: FileReport, rhythm: Rhythm) -> str:
    """Say in what way the rows stand on no grid, and what to do."""
    typical = rhythm.typical / 3.6e9
    if rhythm.num_off == 0:
        who = "" if report.item is None else f" of each {report.item!r}"
        return (
            f"the rows{who} fill less than a tenth of one of {typical:.4g} hours, the most "
            "frequent step. Sum or average them by day or week."
        )
    said = (
        f"{rhythm.num_off:,} of {report.num_rows:,} rows stand off one of {typical:.4g} hours, "
        "the most frequent step."
    )
    if report.times is not None and report.times.has_time_zone and typical == 24:
        return (
            f"{said} Where these are days of local time, write the dates alone, such as 2013-10-01."
        )
    return f"{said} Sum or average them by hour or day."


def _seen(report: FileReport) -> str:
    """Say of a file without times what stands in it, and what to do."""
    if report.labels:
        return "".join(f" Column {name!r} {words}" for name, words in report.labels.items())
    first = {str(n): str(c.iloc[0]) for n, c in list(report.table.cells.items())[:3]}
    cells = ", ".join(f"{name!r} holds {cell!r}" for name, cell in first.items())
    return f" {cells}. Say how times are written by --time-format, such as '%d.%m.%Y %H:%M'."


def name_streams(reports: Sequence[FileReport]) -> list[str]:
    """Name each stream as its file, with the folder's name where two files are named alike."""
    stems = [_as_name(stem_of(report.path)) for report in reports]
    alike = Counter(stems)
    names: list[str] = []
    for report, stem in zip(reports, stems, strict=True):
        if alike[stem] > 1:
            stem = _as_name(f"{report.path.resolve().parent.name}_{stem_of(report.path)}")
        names.append(_unused(stem, names))
    return names


def _as_name(text: str) -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")
    return name if name[:1].isalpha() else f"stream_{name}".rstrip("_")


def _unused(name: str, taken: Sequence[str]) -> str:
    number = 2
    chosen = name
    while chosen in taken:
        chosen, number = f"{name}_{number}", number + 1
    return chosen


def assign_roles(
    reports: Sequence[FileReport], home: FileReport, targets: Sequence[str], horizon: int
) -> Roles:
    """Make a stream of each file, and two of one that holds prose beside numbers.

    home: file of the targets. horizon: in microseconds.
    """
    names = dict(zip(map(id, reports), name_streams(reports), strict=True))
    targets = resolve_targets(reports, home, targets)
    ordered = [home, *(report for report in reports if report is not home)]
    roles = Roles([])
    for report in ordered:
        reason = None if report is home else _match_items(report, home)
        if reason is None and not report.kept:
            reason = "no column that a model can learn from"
        if reason is not None:
            roles.unused[report.path] = reason
            continue
        plan = StreamPlan(names[id(report)], report)
        if report is home:
            _assign_beside_target(plan, targets, horizon)
        else:
            _assign_elsewhere(plan, home, [home.columns[name] for name in targets], horizon)
        texts = [column for column in report.kept if column.kind == "text"]
        if plan.columns:
            roles.streams.append(plan)
        if texts and report.time is not None:
            taken = [*names.values(), *(stream.name for stream in roles.streams)]
            alone = _as_name(texts[0].name) if len(texts) == 1 else f"{plan.name}_text"
            name = _unused(alone, taken) if plan.columns else plan.name
            roles.streams.append(StreamPlan(name, report, past=texts, is_text=True))
    return roles


def _match_items(report: FileReport, home: FileReport) -> str | None:
    """Let a file tell items apart as the target's does; return why it cannot be used."""
    if home.item is None:
        if report.time is None:
            return f"{_timeless(report)}one row per item, while the target has no items"
        if report.item is not None:
            return (
                f"several {report.item!r} share a time, while the target has no items; "
                "make one file of each"
            )
        return None
    known = set(home.items)

    def overlap(name: str) -> float:
        words = set(report.table.cells[name].dropna())
        return len(words & known) / max(len(words), 1)

    named = [name for name in report.table.cells.columns if name in report.columns]
    if report.item is not None:
        named.append(report.item)
    named = [
        n
        for n in named
        if report.table.cells[n].notna().all()
        and (n in (home.item, report.item) or report.time is None or is_item_name(n))
    ]
    best = max(named, key=lambda n: (overlap(n), n == home.item), default=None)
    if best is not None and overlap(best) >= 0.5:
        repeats = report.time is None and report.table.cells[best].duplicated().any()
        if repeats:
            return f"no column of times, and several rows of one {best!r}"
        if best != report.item:
            report.set_item(best)
        return None
    if report.time is None:
        return f"{_timeless(report)}no column of times, and none that names the target's items"
    if report.item is not None:
        return f"{report.item!r} names none of the items of the target"
    return None


def _timeless(report: FileReport) -> str:
    """Say first of a file what keeps its times from being read."""
    said = (f"column {name!r} {words}".rstrip(".") for name, words in report.labels.items())
    return "".join(f"{words}; " for words in said)


def _assign_beside_target(plan: StreamPlan, targets: Sequence[str], horizon: int) -> None:
    report = plan.report
    assert report.rhythm is not None and report.rhythm.period is not None
    plan.target = [report.columns[name] for name in targets]
    last = max(report.last_value(column) for column in plan.target)
    steps = max(1, round(horizon / length_of(report.rhythm.period)))
    for column in report.kept:
        if column.name in targets or column.kind == "text":
            continue
        leak = next(filter(None, (_tell_leak(column, t, report, steps) for t in plan.target)), None)
        if leak is not None:
            report.columns[column.name] = column.but(leak)
        elif _FORECAST_NAME.search(column.name):
            plan.future.append(column)
            plan.notes[column.name] = "a forecast by its name; to past if published later"
        elif _FUTURE_NAME.search(column.name) and report.last_value(column) > last:
            plan.future.append(column)
            plan.notes[column.name] = "goes on behind the target; to past if not known in advance"
        else:
            plan.past.append(column)
            if _FUTURE_NAME.search(column.name):
                plan.notes[column.name] = "to future if it is known in advance"


def _tell_leak(column: Column, target: Column, report: FileReport, steps: int) -> str | None:
    """Return in words how a column repeats the target, now or ahead of it."""
    if column.values is None or target.values is None or report.times is None:
        return None
    codes = report.codes if report.codes is not None else np.zeros(report.num_rows, dtype=np.int64)
    order = np.lexsort((report.times.moments, codes))
    ours, theirs, codes = column.values[order], target.values[order], codes[order]
    for shift in range(min(steps, _MOST_SHIFTS, len(ours) - 1) + 1):
        until = len(ours) - shift
        same_item = codes[:until] == codes[shift:]
        if _is_same(ours[:until][same_item], theirs[shift:][same_item]):
            if shift == 0:
                return f"the same as {target.name}"
            return f"holds {target.name} of {shift} row{'s' * (shift > 1)} later: a leak"
    return None


def _is_same(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> bool:
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < 10 or both.sum() < 0.5 * np.isfinite(other).sum():
        return False
    # Where little ever happens, much is the same by chance.
    moves = np.abs(np.diff(other[both])) > 0
    alike = np.isclose(one[both], other[both], rtol=1e-6, atol=0)
    return bool(alike.mean() > 0.99 and (not moves.any() or alike[1:][moves].mean() > 0.99))


def _assign_elsewhere(
    plan: StreamPlan, home: FileReport, targets: Sequence[Column], horizon: int
) -> None:
    report = plan.report
    values = [column for column in report.kept if column.kind != "text"]
    if report.time is None:
        plan.static = values
        return
    assert report.rhythm is not None
    last = max(home.last_value(column) for column in targets)
    by_file = _FUTURE_NAME.search(report.path.stem) is not None
    beyond = report.rhythm.last - last >= horizon and report.rhythm.period is not None
    for column in values:
        if by_file or beyond or _FUTURE_NAME.search(column.name):
            plan.future.append(column)
        else:
            plan.past.append(column)
    if plan.future:
        said = (
            f"runs {_span(report.rhythm.last - last)} beyond the target" if beyond else "is named"
        )
        plan.remarks.append(
            f"{'It' if beyond else 'What is under future'} {said}"
            f"{'' if beyond else ' as what is planned'}, so it looks known in advance; move it to "
            "past if it is not: a wrong future is a leak. It counts as known always; where a plan "
            "comes out so long before its day, add known_ahead."
        )


def _span(microseconds: int) -> str:
    from datetime import timedelta

    days = microseconds / 8.64e10
    if days >= 2:
        return f"{days:.0f} days"
    return format_period(timedelta(minutes=round(microseconds / 6e7)))
