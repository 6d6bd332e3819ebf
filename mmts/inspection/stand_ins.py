"""What stands for no value in a stream: words and numbers that no other column has as a value.

missing_values of a config hold for every column of a stream, so that 999 in one column must not
delete a pressure of 999 in another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from mmts.errors import DataError, raise_all
from mmts.inspection.columns import Column
from mmts.inspection.roles import StreamPlan
from mmts.inspection.yaml_lines import Entry, Node

_NEVER_NAMES = frozenset(
    (
        "na", "n/a", "#n/a", "<na>", "nan", "null", "nul", "nil", "missing", "undefined", "?",
        "#value!", "#ref!", "#div/0!", "no_data", "nodata", "no data",
    )
)  # fmt: skip
"""Words that are hardly ever the name of anything."""

_JUST_SHORT = 0.001
"""How far before a stand-in the range of true values ends, as a share of it."""


@dataclass
class StandIns:
    """What a config says of a stream's stand-ins.

    missing: words and numbers, as written, with how many cells of the stream hold each.
    ranges: column to the least and greatest value, where a number cannot be listed for all.
    whys: why, per column. remarks: what else there is to say.
    """

    missing: dict[str, int] = field(default_factory=dict)
    ranges: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    whys: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def entries(self) -> Iterator[Node]:
        """Yield the keys of the config."""
        if self.missing:
            shown = sorted(self.missing, key=lambda word: -self.missing[word])
            notes = [f"{word!r} in {self.missing[word]:,} cells" for word in shown[:4]]
            members = [float(w) if _is_number(w) else w for w in shown]
            yield Entry("missing_values", members, ", ".join([*notes, *self.remarks]))
        if self.ranges:
            limits = [Entry(c, list(limit), self.whys[c]) for c, limit in self.ranges.items()]
            yield Entry("valid_range", limits)


def find_stand_ins(plan: StreamPlan) -> StandIns:
    """Find what stands for no value in the columns that a stream reads.

    Raises DataError where a word stands for none in numbers and is a name in another column.
    """
    found = StandIns()
    problems: list[str] = []
    for word, owners in _words_of(plan).items():
        holders = [c for c in plan.columns if c not in owners and _count(plan, c, word)]
        if holders and word.lower() not in _NEVER_NAMES:
            problems.append(_words_of_clash(plan, word, owners[0], holders[0]))
        elif holders:
            found.remarks.append(
                f"{word!r} counts as no value in {', '.join(c.name for c in holders)} as well; "
                f"where it is a name there, empty its cells in {owners[0].name}"
            )
        found.missing[word] = sum(_count(plan, column, word) for column in plan.columns)
    raise_all(DataError, problems)
    for number, columns in _numbers_of(plan).items():
        word = f"{number:g}"
        holders = [c for c in plan.columns if c not in columns and _count(plan, c, word)]
        if not holders:
            found.missing[word] = sum(_count(plan, column, word) for column in plan.columns)
            continue
        for column in columns:
            _limit(found, plan, column, number, holders[0])
    return found


def _words_of(plan: StreamPlan) -> dict[str, list[Column]]:
    owners: dict[str, list[Column]] = {}
    for column in plan.columns:
        for word in column.words:
            owners.setdefault(word, []).append(column)
    return owners


def _numbers_of(plan: StreamPlan) -> dict[float, list[Column]]:
    owners: dict[float, list[Column]] = {}
    for column in plan.columns:
        for number in column.sentinels:
            owners.setdefault(number, []).append(column)
    return owners


def _count(plan: StreamPlan, column: Column, word: str) -> int:
    """Count the cells of a column that a reader would take for a stand-in."""
    cells = plan.report.table.cells[column.name]
    if column.kind == "number" and _is_number(word):
        # As the values are without what stands for none in this very column.
        numbers = plan.report.style.parse(cells)
        return int((numbers == float(word)).sum())
    return int((cells == word).sum())


def _words_of_clash(plan: StreamPlan, word: str, owner: Column, holder: Column) -> str:
    count, others = _count(plan, owner, word), _count(plan, holder, word)
    return (
        f"{plan.report.path}: {word!r} stands for no value in column {owner.name!r} ({count:,} "
        f"cells) and is a name in {holder.name!r} ({others:,} cells); a reader would take both for "
        f"no value. Write empty cells in {owner.name!r}, or another word in {holder.name!r}."
    )


def _limit(
    found: StandIns, plan: StreamPlan, column: Column, number: float, holder: Column
) -> None:
    """Let the range of a column end short of a stand-in, which is a value of another column."""
    count = _count(plan, column, f"{number:g}")
    said = f"{number:g} in {count:,} cells is no value here, and one in {holder.name}"
    if column.values is None:
        found.remarks.append(f"{column.name} keeps {number:g} as a name: {said}")
        return
    values = column.values[np.isfinite(column.values)]
    low, high = found.ranges.get(column.name, (None, None))
    if number > values.max():
        high = _short_of(number, float(values.max()), high)
    else:
        low = _short_of(number, float(values.min()), low)
    found.ranges[column.name] = (low, high)
    before = found.whys.get(column.name)
    found.whys[column.name] = said if before is None else f"{before}; {said}"


def _short_of(number: float, nearest: float, limit: float | None) -> float:
    """Return a limit between a stand-in and the value nearest to it, or a closer one there is."""
    towards = np.sign(nearest - number)
    short = float(f"{number + towards * abs(number) * _JUST_SHORT:.4g}")
    if (short - number) * towards <= 0 or (nearest - short) * towards < 0:
        short = (number + nearest) / 2
    if limit is None:
        return short
    return min(short, limit, key=lambda edge: abs(edge - nearest))


def _is_number(word: str) -> bool:
    try:
        return bool(np.isfinite(float(word)))
    except ValueError:
        return False
