"""Reading YAML strictly: no duplicate keys, no surprises, and a place for every fault."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mmts.errors import ConfigError


class _StrictLoader(yaml.SafeLoader):
    """YAML 1.2 in what matters: `no` is a word, `1e-3` is a number, keys are unique."""


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":float"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF")
)
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?$"),
    list("-+0123456789."),
)


class _StrictDumper(yaml.SafeDumper):
    """Quotes what the loader would take for something other than the word it is."""


_StrictDumper.yaml_implicit_resolvers = _StrictLoader.yaml_implicit_resolvers


def _construct_mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str | int | float | bool | None):
            raise ConfigError(
                f"{key_node.start_mark.name}, line {line}: a key must be a word. "
                "Put quotes around a value that begins with a brace."
            )
        if key in seen:
            raise ConfigError(
                f"{key_node.start_mark.name}, line {line}: key {key!r} stands in line {seen[key]} "
                "already. Keep one."
            )
        seen[key] = line
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises ConfigError when there is no such file, or when it is not such a file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a folder, not a config file.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8. Is it YAML?") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from None
    found = parse_yaml(text, str(path))
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: holds no settings. Begin with 'name:' and 'data:'.")
    return found


def parse_yaml(text: str, name: str) -> Any:
    """Parse YAML text; `name` stands in messages. Raises ConfigError."""
    try:
        loader = _StrictLoader(text)
    except yaml.reader.ReaderError as error:
        raise ConfigError(f"{name}: not well-formed YAML: {error.reason}.") from None
    loader.name = name
    try:
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = "" if mark is None else f", line {mark.line + 1}"
        raise ConfigError(f"{name}{line}: not well-formed YAML: {error.problem}.") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{name}: not well-formed YAML: {error}.") from None
    finally:
        loader.dispose()


def write_yaml(settings: dict[str, Any]) -> str:
    """Write settings as YAML that reads back as they were."""
    return yaml.dump(settings, Dumper=_StrictDumper, sort_keys=False, allow_unicode=True, width=100)


def apply_override(settings: dict[str, Any], override: str) -> None:
    """Set one key, as in `training.batch_size=64` or `model.interactions.0.to=load.2`.

    Raises ConfigError when the override has no such form, or leads through something that is
    not a mapping or a list.
    """
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise ConfigError(f"--set {override}: write it as key.of.setting=value.")
    set_key(settings, path.strip(), parse_yaml(text, f"--set {override}"), f"--set {override}")


def set_key(settings: dict[str, Any], path: str, value: Any, said: str) -> None:
    """Set one key in place, such as `training.batch_size`, and make the groups that lead there.

    said: what begins a message. Raises ConfigError when the path leads through something that is
    not a mapping or a list.
    """
    keys = path.split(".")
    place: Any = settings
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        where = ".".join(keys[: depth + 1])
        if isinstance(place, list):
            place = _step_into_list(place, key, where, said, value if last else None, last)
        elif isinstance(place, dict):
            if last:
                place[key] = value
            elif place.get(key) is None:
                place[key] = {}
            place = place[key]
        else:
            raise ConfigError(f"{said}: {'.'.join(keys[:depth])} holds no settings.")


def _step_into_list(
    place: list[Any], key: str, where: str, said: str, value: Any, last: bool
) -> Any:
    if not key.isdecimal() or int(key) >= len(place):
        raise ConfigError(
            f"{said}: {where} does not exist; the list has places 0 to {len(place) - 1}."
        )
    if last:
        place[int(key)] = value
    return place[int(key)]


def apply_overrides(settings: dict[str, Any], overrides: Sequence[str]) -> None:
    """Set several keys, in order."""
    for override in overrides:
        apply_override(settings, override)
