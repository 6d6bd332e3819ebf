"""YAML with a comment beside each key, which no YAML writer keeps."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

_WIDTH = 100
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./()+-]*(?: [A-Za-z0-9_./()+-]+)*")
_NUMBER = re.compile(r"\d+|0\.\d+")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}Z?)?")
_DURATION = re.compile(r"\d+(\.\d+)?[a-z]{1,3}")
_PATH = re.compile(r"(?:\.\./|\.\.|/)?(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/?|\.\./?)*")
# Words that this or another reader of YAML takes for something else.
_RESERVED = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
_MOST_COMMENTED = 40


@dataclass(frozen=True)
class Entry:
    """A key with its value: a word or number, a list, a mapping of entries, and why it is so.

    why_each: what to say beside single members of a list.
    """

    key: str
    value: Any
    why: str = ""
    why_each: dict[str, str] | None = None


@dataclass(frozen=True)
class Remark:
    """Lines of comment between the keys."""

    text: str


Node = Entry | Remark


def write_scalar(value: Any) -> str:
    """Write one value so that every reader of YAML takes it for what it is."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    return json.dumps(text, ensure_ascii=False)


def write_bare(value: str) -> str:
    """Write a date, a duration or a path as it stands, anything else as a scalar."""
    if _NUMBER.fullmatch(value) or any(p.fullmatch(value) for p in (_DATE, _DURATION, _PATH)):
        return value
    return write_scalar(value)


@dataclass(frozen=True)
class Bare:
    """A date, duration, count or path that stands without quotes."""

    text: str


def render(nodes: Sequence[Node], indent: int = 0) -> Iterator[str]:
    """Yield the lines of a mapping."""
    pad = " " * indent
    for node in nodes:
        if isinstance(node, Remark):
            yield from _comment(node.text, pad)
            continue
        value = node.value
        if isinstance(value, list) and value and isinstance(value[0], Entry | Remark):
            if node.why:
                yield from _comment(node.why, pad)
            yield f"{pad}{write_scalar(node.key)}:"
            yield from render(value, indent + 2)
        elif isinstance(value, list):
            yield from _list(node, pad)
        else:
            shown = write_bare(value.text) if isinstance(value, Bare) else write_scalar(value)
            yield from _beside(f"{pad}{write_scalar(node.key)}: {shown}", node.why, pad)


def _list(node: Entry, pad: str) -> Iterator[str]:
    members = [write_scalar(member) for member in node.value]
    notes = node.why_each or {}
    if notes and len(members) <= _MOST_COMMENTED:
        yield from _beside(f"{pad}{node.key}:", node.why, pad)
        for member, shown in zip(node.value, members, strict=True):
            yield from _beside(f"{pad}  - {shown}", notes.get(member, ""), f"{pad}  ")
        return
    whole = f"{pad}{node.key}: [{', '.join(members)}]"
    if len(whole) <= _WIDTH:
        yield from _beside(whole, node.why, pad)
        return
    if node.why:
        yield from _comment(node.why, pad)
    yield f"{pad}{node.key}:"
    if max(map(len, members)) > _WIDTH // 2:
        yield from (f"{pad}  - {member}" for member in members)
        return
    line = f"{pad}  ["
    for place, member in enumerate(members):
        end = "]" if place == len(members) - 1 else ","
        gap = "" if line.endswith("[") else " "
        if len(line) + len(gap) + len(member) + 1 > _WIDTH:
            yield line
            line, gap = f"{pad}   ", ""
        line += gap + member + end
    yield line


def _beside(line: str, why: str, pad: str) -> Iterator[str]:
    """Put a comment behind a line, or above it where there is no room."""
    if why and len(line) + len(why) + 6 <= _WIDTH:
        yield f"{line}    # {why}"
        return
    if why:
        yield from _comment(why, pad)
    yield line


def _comment(text: str, pad: str) -> Iterator[str]:
    # A newline in a name of the file must not end the comment.
    for line in textwrap.wrap(" ".join(text.split()), _WIDTH - len(pad) - 2) or [""]:
        yield f"{pad}# {line}" if line else ""
