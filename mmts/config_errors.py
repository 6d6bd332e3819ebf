"""Saying what is wrong with a config: every fault, with its full path and the nearest right key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

from mmts.errors import nearest, shortened
from mmts.kinds import Kinds
from mmts.tracking.secrets import hide_secrets

Location = tuple[int | str, ...]


def describe_faults(error: ValidationError, model: type[BaseModel], settings: Any) -> list[str]:
    """Return one line per fault, such as `data.streams.weather.dlay: unknown key; ...`.

    settings: what was validated, as read from YAML. A value is told without the secrets in it.
    """
    faults = error.errors(include_url=False)
    told = (_describe(fault, model, settings) for fault in faults if not _follows(fault, faults))
    return [shortened(hide_secrets(line)) for line in told]


def _follows(fault: ErrorDetails, faults: Sequence[ErrorDetails]) -> bool:
    """Return whether a list is called too short only because what stands in it was refused."""
    place = fault["loc"]
    return fault["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in faults
    )


def _describe(fault: ErrorDetails, model: type[BaseModel], settings: Any) -> str:
    location = fault["loc"]
    path = ".".join(str(key) for key in _without_tags(location, settings)) or "config"
    context = fault.get("ctx", {})
    match fault["type"]:
        case "extra_forbidden":
            key = str(location[-1])
            known = sorted(_keys_at(model, location[:-1]))
            otherwise = f"; known are {', '.join(known)}."
            return f"{path}: unknown key{nearest(key, known, otherwise)}"
        case "missing":
            return f"{path}: missing; add it."
        case "union_tag_invalid":
            return (
                f"{path}: kind {context['tag']!r} is not known; "
                f"choose one of {context['expected_tags']}."
            )
        case "union_tag_not_found":
            return f"{path}: 'kind' is missing; add it."
        case "value_error":
            return f"{path}: {context['error']}."
        case "model_type" | "dict_type" | "model_attributes_type":
            return f"{path}: {fault['input']!r} is no group of settings; write {{KEY: VALUE, ...}}."
        case "tuple_type" | "list_type":
            return f"{path}: {fault['input']!r} is no list; write [..., ...]."
        case "too_short":
            return f"{path}: {fault['input']!r} will not do: list at least {context['min_length']}."
        case "literal_error":
            known = re.findall(r"'([^']*)'", context["expected"])
            hint = nearest(str(fault["input"]), known)
            return f"{path}: {fault['input']!r} will not do: choose {context['expected']}{hint}"
        case "string_pattern_mismatch" if location[-1] == "holidays":
            return (
                f"{path}: {fault['input']!r} will not do: write two letters of a country, and "
                "perhaps its part, such as US or DE-BY."
            )
        case "kind":
            return f"{path}: {fault['msg']}"
        case "node" | "duration" | "period" | "length" | "cut" | "time_zone" | "number" | "space":
            return f"{path}: {fault['msg']}."
        case _:
            message = fault["msg"][0].lower() + fault["msg"][1:]
            return f"{path}: {fault['input']!r} will not do: {message}."


def _without_tags(location: Location, settings: Any) -> Location:
    """Leave out what names a member of a union: it is no key of the file."""
    path: list[int | str] = []
    place = settings
    for depth, key in enumerate(location):
        is_last = depth == len(location) - 1
        if isinstance(key, str) and key.startswith("("):
            continue
        if isinstance(place, dict) and not is_last:
            if key == place.get("kind"):
                continue
            place = place.get(key)
        elif isinstance(place, list) and isinstance(key, int) and key < len(place):
            place = place[key]
        path.append(key)
    return tuple(path)


def _keys_at(annotation: Any, location: Location) -> set[str]:
    """Return the keys that a group of settings may have, walking from a model along a location."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *notes = get_args(annotation)
        for kinds in notes:
            if isinstance(kinds, Kinds) and location:
                own = kinds.own_settings_class(str(location[0]))
                if own is not None:
                    return _keys_at(own, location[1:])
        return _keys_at(inner, location)
    if origin in (Union, UnionType):
        members = get_args(annotation)
        tagged = [member for member in members if location and location[0] in _tags(member)]
        if tagged:
            return _keys_at(tagged[0], location[1:])
        return set().union(*(_keys_at(member, location) for member in members))
    if origin is dict:
        return _keys_at(get_args(annotation)[1], location[1:]) if location else set()
    if origin in (list, tuple):
        return _keys_at(get_args(annotation)[0], location[1:]) if location else set()
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return set()
    fields = {field.alias or name: field for name, field in annotation.model_fields.items()}
    if not location:
        return set(fields)
    field = fields.get(str(location[0]))
    return set() if field is None else _keys_at(field.annotation, location[1:])


def _tags(member: Any) -> set[Any]:
    """Return the names under which a member stands in a union."""
    if get_origin(member) is Annotated:
        inner, *notes = get_args(member)
        return {note.tag for note in notes if isinstance(note, Tag)} or _tags(inner)
    if not (isinstance(member, type) and issubclass(member, BaseModel)):
        return set()
    field = member.model_fields.get("kind")
    return set() if field is None else set(get_args(field.annotation))
