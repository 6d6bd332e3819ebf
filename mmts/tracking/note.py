"""The description of a run: Markdown, of which each command writes sections of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_SECTION = re.compile(r"(?m)^(?=## )")


def set_section(note: str, heading: str, body: str) -> str:
    """Return a note in which a section says something else, or stands new before all others.

    What is known last is what a reader wants to know first. Other sections, and what somebody
    wrote by hand, stay as they are.
    """
    beginning, *sections = _SECTION.split(note)
    section = f"## {heading}\n\n{body.strip()}"
    for place, found in enumerate(sections):
        if found.partition("\n")[0].strip() == f"## {heading}":
            sections[place] = section
            break
    else:
        sections.insert(0, section)
    parts = (part.strip() for part in (beginning, *sections))
    return "\n\n".join(part for part in parts if part)


def write_table(headings: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int) -> str:
    """Write a table in Markdown; numbers_from: the first of the columns that are set right."""
    rules = ["---" if place < numbers_from else "---:" for place in range(len(headings))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, rules, *rows))


def mark_code(text: str) -> str:
    """Write a name so that nothing in it is read as Markdown, in a table too."""
    return "`" + text.replace("`", "'").replace("|", "\\|").replace("\n", " ") + "`"
