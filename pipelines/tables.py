"""Plain tables, for commands that have no time to load anything to draw them with."""

from __future__ import annotations

from collections.abc import Sequence

_GAP = "  "


def lines_of(
    headings: Sequence[str], rows: Sequence[Sequence[str]], num_words: int = 1
) -> list[str]:
    """Return the lines of a table; the first columns hold words, the others numbers.

    Never broken and never cut short: a terminal breaks what is too wide for it.
    """
    table = [list(headings), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = [
            cell.ljust(width) if place < num_words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(_GAP.join(cells).rstrip())
    return lines


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], num_words: int = 1) -> None:
    """Print a table."""
    for line in lines_of(headings, rows, num_words):
        print(line)


def say_number(number: float | None) -> str:
    """Write a count as it is, and any other number as a score."""
    from mmts.score_text import say_score

    if number is not None and isinstance(number, int):
        return str(number)
    return say_score(number)
