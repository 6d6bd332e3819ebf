"""Reading YAML strictly: no duplicate keys, no surprises, and a place for every fault."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mmts.errors import ConfigError

LONGEST = 1 << 20
"""Bytes of a file, and characters that it may come to when its aliases are written out."""

DEEPEST = 100
"""How deep groups and lists may stand in one another."""


class _StrictLoader(yaml.SafeLoader):
    """YAML 1.2 in what matters: `no` is a word, `1e-3` is a number, keys are unique.

    No tags, and bounds on depth and on what aliases multiply.
    """

    def __init__(self, text: str) -> None:
        self._depth = 0
        self._lengths: dict[int, int] = {}
        super().__init__(text)

    # Named by PyYAML, whose stubs leave out what the parts are.
    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose one node, and count what it comes to."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # as the stubs leave it
        if getattr(event, "tag", None) not in (None, "!"):
            raise _Refused(event, f"the tag {event.tag} says what Python should make of a value")
        if self._depth == DEEPEST:
            raise _Refused(event, f"groups stand more than {DEEPEST} deep in one another")
        self._depth += 1
        node: Any = super().compose_node(parent, index)
        self._depth -= 1
        if not isinstance(event, yaml.AliasEvent):
            self._lengths[id(node)] = self._length_of(node)
        elif id(node) not in self._lengths:
            raise _Refused(event, f"the alias *{event.anchor} stands inside of what it names")
        if self._lengths[id(node)] > LONGEST:
            raise _Refused(event, f"aliases come to more than {LONGEST:,} characters")
        return node

    def _length_of(self, node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1 + len(node.value)
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        else:
            parts = node.value
        return 1 + sum(self._lengths[id(part)] for part in parts)


class _Refused(yaml.MarkedYAMLError):
    """Well-formed YAML that no config needs."""

    def __init__(self, event: Any, problem: str) -> None:
        super().__init__(problem=problem)
        self.line = event.start_mark.line + 1


_DIGITS = r"[-+]?[0-9]{1,40}"
_StrictLoader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if not tag.endswith((":bool", ":float", ":int", ":merge", ":value"))
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF")
)
# Neither 12:30 nor 0x1f nor 017 is a count of anything.
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(rf"^{_DIGITS}$"), list("-+0123456789")
)
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?$", re.ASCII),
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


def _construct_text(loader: _StrictLoader, node: yaml.ScalarNode) -> str:
    text = loader.construct_scalar(node)
    # Only an escape can write these, and no file or column can be named by them.
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise _misread(node, "holds a letter that no text can hold")
    return text


def _construct_integer(loader: _StrictLoader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))


def _construct_time(loader: _StrictLoader, node: yaml.ScalarNode) -> Any:
    try:
        return loader.construct_yaml_timestamp(node)
    except (ValueError, OverflowError) as error:
        raise _misread(node, f"is no time: {error}") from None


def _misread(node: yaml.ScalarNode, fault: str) -> ConfigError:
    mark = node.start_mark
    return ConfigError(
        f"{mark.name}, line {mark.line + 1}: {node.value[:80]!r} {fault}. Correct it."
    )


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
_StrictLoader.add_constructor("tag:yaml.org,2002:str", _construct_text)
_StrictLoader.add_constructor("tag:yaml.org,2002:timestamp", _construct_time)
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _construct_integer)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises ConfigError when there is no such file, or when it is not such a file.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST + 1)
        if len(data) > LONGEST:
            raise ConfigError(f"{path}: longer than {LONGEST:,} bytes. Is it a config file?")
        text = data.decode("utf-8-sig")
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
    except _Refused as error:
        raise ConfigError(
            f"{name}, line {error.line}: {error.problem}. Write plain settings."
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = "" if mark is None else f", line {mark.line + 1}"
        raise ConfigError(f"{name}{line}: not well-formed YAML: {error.problem}.") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
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
