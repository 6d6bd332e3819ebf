"""A config and what is searched in it: the config of each trial, and every fault before the first.

A trial is the config as it was written, with some keys set, so that what follows from them
(encoders by default, presets of interactions) follows anew.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmts.config import ExperimentConfig, resolve_config, validate_config
from mmts.config_yaml import apply_overrides, read_yaml, set_key
from mmts.errors import ConfigError, nearest, raise_all
from mmts.heads.base import HeadSettings
from mmts.tuning.config import Range, Space, TuningConfig

_NO_PART_OF_THE_MODEL = ("name", "calibration", "tracking", "tuning")


@dataclass(frozen=True)
class SearchedConfig:
    """An experiment with a search space.

    where: what begins a message. folder: where a relative `data.root` begins. settings: as
    written, overrides applied. config: what they are without any key of the search set.
    """

    where: str
    folder: Path
    settings: dict[str, Any]
    config: ExperimentConfig
    tuning: TuningConfig

    def with_values(self, values: Mapping[str, Any]) -> ExperimentConfig:
        """Return the resolved config of a trial, without the search; raises ConfigError."""
        settings = copy.deepcopy(self.settings)
        settings.pop("tuning")
        for key, value in values.items():
            self._add_defaults(settings, key)
            set_key(settings, key, copy.deepcopy(value), self.where)
        return resolve_config(validate_config(settings, self.where), self.folder)

    def _add_defaults(self, settings: dict[str, Any], key: str) -> None:
        """Spell out a group that has a kind and that nobody wrote, such as an encoder by default.

        One key of it alone would be a group without its kind.
        """
        groups = key.split(".")[:-1]
        place: Any = self.config.to_json()
        for depth, group in enumerate(groups):
            place = place.get(group) if isinstance(place, dict) else None
            if isinstance(place, dict) and "kind" in place:
                path = ".".join(groups[: depth + 1])
                if not _is_written(settings, groups[: depth + 1]):
                    set_key(settings, path, copy.deepcopy(place), self.where)
                return


def load_searched_config(path: str | Path, overrides: Sequence[str] = ()) -> SearchedConfig:
    """Read a config with a search space; raises ConfigError with every fault at once."""
    path = Path(path)
    settings = read_yaml(path)
    apply_overrides(settings, overrides)
    config = resolve_config(validate_config(settings, str(path)), path.parent)
    if config.tuning is None:
        raise ConfigError(
            f"{path}: nothing to search. Add a section such as "
            "tuning: {search: {training.learning_rate: {low: 1e-4, high: 1e-2, log: true}}}."
        )
    searched = SearchedConfig(str(path), path.parent, settings, config, config.tuning)
    faults = list(dict.fromkeys(_faults(searched)))
    raise_all(ConfigError, [] if not faults else ["\n  ".join([f"{path}:", *faults])])
    return searched


def what_is_measured(config: ExperimentConfig) -> dict[str, Any]:
    """Return the settings that decide what a validation loss is a loss of, by their keys."""
    data, head = config.data, config.model.head
    return {
        "data.horizon": data.horizon,
        "data.frequency": data.frequency,
        "data.split": data.split,
        "data.exclude_items": data.exclude_items,
        f"data.streams.{data.target_stream}.target": data.streams[data.target_stream].target,
        # What a kind of head has beyond the others is its loss.
        **{
            f"model.head.{name}": value
            for name, value in head
            if name not in HeadSettings.model_fields
        },
    }


def examples(space: Space) -> list[Any]:
    """Return values of a space to check it by."""
    return space.examples() if isinstance(space, Range) else list(space)


def _faults(searched: SearchedConfig) -> Iterator[str]:
    search = searched.tuning.search
    for key, space in search.items():
        place = f"tuning.search.{key}"
        if key.partition(".")[0] in _NO_PART_OF_THE_MODEL:
            yield f"{place}: makes no model better; take it out."
            continue
        for other in search:
            if other.startswith(f"{key}."):
                yield f"{place}: holds {other}, which is searched as well; keep one of them."
        for value in examples(space):
            yield from _faults_of_value(searched, key, value)


def _faults_of_value(searched: SearchedConfig, key: str, value: Any) -> Iterator[str]:
    place = f"tuning.search.{key}"
    section, _, stream = key.rpartition(".")[0].partition("encoders.")
    streams = searched.config.data.streams
    if section == "model." and stream and stream.partition(".")[0] not in streams:
        yield f"{place}: there is no such stream{nearest(stream, streams)}"
        return
    try:
        config = searched.with_values({key: value})
    except ConfigError as error:
        for line in str(error).splitlines():
            fault = line.strip().removeprefix(f"{searched.where}:").strip()
            if fault.startswith(f"{key}:"):
                yield f"tuning.search.{fault}"
            elif "unknown key" in fault or "the list has places" in fault:
                # Whatever its value is.
                yield f"{place}: {fault}"
            elif fault:
                yield f"{place}: with {value!r}, {fault}"
        return
    before, after = what_is_measured(searched.config), what_is_measured(config)
    changed = [name for name in before | after if before.get(name) != after.get(name)]
    if changed:
        yield (
            f"{place}: changes {', '.join(changed)}, and with it what the validation loss is "
            "measured on: trials could not be compared. Take it out, and make a study for each."
        )


def _is_written(settings: dict[str, Any], path: Sequence[str]) -> bool:
    place: Any = settings
    for key in path:
        place = place.get(key) if isinstance(place, dict) else None
    return place is not None
