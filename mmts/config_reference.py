"""Every key of a config with its type, its default and what it does, written as one page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from mmts.config import ExperimentConfig
from mmts.config_base import Cut, Duration, Length, Period
from mmts.interactions.base import NodeName

_HEAD = """\
# Config reference

<!-- Written by `mmts config reference`; do not edit. -->

Every key that an experiment may have, written by `mmts config reference` from the settings \
themselves. `mmts config show CONFIG` prints a config of yours with every default filled in, and \
`mmts config schema` gives the same to an editor.

- A key without a default is **required**. An unknown key is refused.
- A *duration* is written as `15min`, `24h`, `7d` or `1d12h`. A *length* is a duration, a number \
of months such as `3mo` or `1y`, or a number of steps. A *period* is a duration or months.
- A *place to cut* is a time, a fraction of the target stream's rows, or a number of them.
- A *node* is a stream and its layer: `weather.0`, `weather.2`, `weather.out`.
- `NAME` and `KEY` stand for names of your own.
- Kinds of your own come beside those below: [Interactions](interactions.md#your-own-kind).
"""


def write_reference() -> str:
    """Return the page, in Markdown."""
    schema = ExperimentConfig.model_json_schema(by_alias=True)
    return _Reference(schema["$defs"]).write(schema)


def _bare(schema: dict[str, Any]) -> str:
    names = ("title", "description", "default")
    return json.dumps({k: v for k, v in schema.items() if k not in names}, sort_keys=True)


def _members(field: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a union is of, unions in it opened; empty where it is none."""
    found = [*field.get("anyOf", ()), *field.get("oneOf", ()), *field.get("allOf", ())]
    return [inner for member in found for inner in _members(member) or [member]]


_KINDS: tuple[tuple[Any, str], ...] = (
    (Duration, "duration"),
    (Period, "period"),
    (Length, "length"),
    (Cut, "place to cut"),
    (NodeName, "node"),
)

_NAMED: dict[frozenset[str], str] = {
    frozenset(map(_bare, _members(schema) or [schema])): words
    for kind, words in _KINDS
    for schema in (TypeAdapter(kind).json_schema(),)
}
"""What is known by a name, by the members of its schema: a union around it takes these in."""

_BOUNDS = {
    "exclusiveMinimum": "above",
    "minimum": "from",
    "exclusiveMaximum": "below",
    "maximum": "up to",
    "multipleOf": "a multiple of",
}


class _Reference:
    """Walks through a JSON Schema and writes a section for each group of settings."""

    def __init__(self, groups: dict[str, Any]) -> None:
        self.groups = groups
        self.written: set[str] = set()

    def write(self, schema: dict[str, Any]) -> str:
        return "\n".join([_HEAD, *self._section("The experiment", "", schema)]).rstrip() + "\n"

    def _section(self, title: str, path: str, group: dict[str, Any]) -> Iterator[str]:
        """Yield the lines of a group of settings, and of all below it."""
        yield f"{'###' if '.' in path else '##'} {title}\n"
        if group.get("description"):
            yield f"{_plain(group['description'])}\n"
        yield "| key | type | default | |"
        yield "|---|---|---|---|"
        fields = {f"{path}.{key}".removeprefix("."): f for key, f in group["properties"].items()}
        for place, field in fields.items():
            key = place.rpartition(".")[2]
            is_required = key in group.get("required", [])
            default = "**required**" if is_required else _cell(self._default(field))
            words = (self._type(place, field), default, field.get("description", ""))
            yield f"| `{key}` | {_cell(words[0])} | {words[1]} | {_cell(words[2])} |"
        yield ""
        for place, field in fields.items():
            for inner, name in self._groups_at(place, field):
                if name not in self.written:
                    self.written.add(name)
                    yield from self._section(self._title(inner, name), inner, self.groups[name])

    def _groups_at(self, path: str, field: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield path and name of each group that may stand at a key."""
        if "$ref" in field:
            yield path, _name_of(field)
        for member in _members(field):
            yield from self._groups_at(path, member)
        if isinstance(field.get("items"), dict):
            yield from self._groups_at(path, field["items"])
        inner = _values(field)
        if inner is not None:
            yield from self._groups_at(f"{path}.{_own_name(path)}", inner)

    def _title(self, path: str, name: str) -> str:
        kind = self._kind(name)
        if kind is not None:
            return f"`{path}`, kind `{kind}`"
        # Beside the kinds of interactions stand presets, which have none.
        return f"`{path}`, a preset" if "preset" in self.groups[name]["properties"] else f"`{path}`"

    def _kind(self, name: str) -> str | None:
        found: str | None = self.groups[name]["properties"].get("kind", {}).get("const")
        return found

    def _type(self, path: str, field: dict[str, Any]) -> str:
        """Say in words what may stand at a key."""
        members = _members(field) or [field]
        bare = [_bare(member) for member in members]
        for parts, words in _NAMED.items():
            if parts <= set(bare):
                others = [m for m, text in zip(members, bare, strict=True) if text not in parts]
                return " or ".join([words, *(self._type(path, other) for other in others)])
        if len(members) > 1:
            return " or ".join(dict.fromkeys(self._type(path, member) for member in members))
        if "$ref" in members[0]:
            name = _name_of(members[0])
            kind = self._kind(name)
            words = self._title(path, name).rpartition(", ")[2]
            words = words if kind is None else f"`{kind}`"
            return f"[{'settings' if words == f'`{path}`' else words}](#{self._anchor(path, name)})"
        return self._plain_type(path, members[0])

    def _anchor(self, path: str, name: str) -> str:
        """Return the anchor of a section, as GitHub and MkDocs make it from the title."""
        plain = re.sub(r"[^\w\s-]", "", self._title(path, name).lower())
        return re.sub(r"[\s-]+", "-", plain)

    def _plain_type(self, path: str, field: dict[str, Any]) -> str:
        if "const" in field or "enum" in field:
            choices = field.get("enum", [field.get("const")])
            return " or ".join(f"`{_yaml(value)}`" for value in choices)
        match field.get("type"):
            case "array" if "prefixItems" in field:
                return f"[{', '.join(self._type(path, item) for item in field['prefixItems'])}]"
            case "array":
                return f"list of {self._type(path, field['items'])}" if field["items"] else "list"
            case "object":
                inner = _values(field)
                if inner is None:
                    return "a kind of your own"
                own = _own_name(path)
                return f"{own}: {self._type(f'{path}.{own}', inner)}"
            case "integer" | "number" as found:
                words = "whole number" if found == "integer" else "number"
                bounds = [f"{said} {field[key]}" for key, said in _BOUNDS.items() if key in field]
                return " ".join([words, ", ".join(bounds)]).strip()
            case found:
                plain = {"boolean": "`true` or `false`", "string": "text", "null": "`null`"}
                return plain[str(found)]

    def _default(self, field: dict[str, Any]) -> str:
        # What has no default in the schema is made anew for each config: an empty group.
        default = field.get("default", {})
        if isinstance(default, dict) and len(default) > 1:
            # All of them stand in the group's own section.
            return f"`{default['kind']}`" if "kind" in default else ""
        return f"`{_yaml(default)}`"


def _values(field: dict[str, Any]) -> dict[str, Any] | None:
    """Return what stands under names of the user's own, where a key holds these."""
    found = (field.get("additionalProperties"), *field.get("patternProperties", {}).values())
    return next((schema for schema in found if isinstance(schema, dict)), None)


def _own_name(path: str) -> str:
    return "KEY" if path.endswith(".search") else "NAME"


def _name_of(field: dict[str, Any]) -> str:
    return str(field["$ref"]).rpartition("/")[2]


def _yaml(value: Any) -> str:
    """Write a value as it stands in YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if isinstance(value, str):
        return value if value.strip() else f'"{value}"'
    return json.dumps(value)


def _plain(text: str) -> str:
    """Join the lines of each paragraph of a docstring."""
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))


def _cell(text: str) -> str:
    """Write a text so that a cell of a table holds it."""
    return " ".join(text.split()).replace("|", "\\|").replace("/*.", "/\\*.")
