"""The folder of a study: whose it is, who works in it, and what lies where."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmts.config import ExperimentConfig
from mmts.config_yaml import read_yaml, write_yaml
from mmts.errors import ConfigError, OutputError
from mmts.files import write_whole
from mmts.folder_lock import hold_folder, is_empty
from mmts.run_folders.names import BEST, STUDY

# How many, how long, by how many and where recorded: no trial depends on it. Where the data lie
# does not matter either, as what they hold is compared.
_FREE = (
    "tuning.num_trials", "tuning.timeout", "tuning.workers", "tracking", "data.root", "data.cache",
    "data.cache_folder",
)  # fmt: skip
_MOST_SHOWN = 10


@dataclass(frozen=True)
class StudyFolder:
    """Where everything of a study lies."""

    path: Path

    @property
    def description(self) -> Path:
        """The config, the search and the data of the study, as YAML."""
        return self.path / STUDY

    @property
    def database(self) -> Path:
        """All trials, as Optuna keeps them."""
        return self.path / "study.db"

    @property
    def table(self) -> Path:
        """All trials, as CSV."""
        return self.path / "trials.csv"

    @property
    def best_config(self) -> Path:
        """The config of the best trial, which trains as it is."""
        return self.path / "best.yaml"

    @property
    def best_checkpoint(self) -> Path:
        """What was trained in the best trial."""
        return self.path / BEST

    def trial(self, number: int) -> Path:
        """Return the folder of one trial's training."""
        return self.path / "trials" / f"{number:04d}"

    def trial_name(self, number: int) -> str:
        """Return the name of one trial's run in MLflow."""
        return f"{self.path.name}-{number}"

    @contextmanager
    def opened(self, config: ExperimentConfig, fingerprint: Mapping[str, str]) -> Iterator[None]:
        """Begin a study or go on with it, and keep other commands out meanwhile.

        fingerprint: SHA-256 of what each stream is read from. Raises OutputError where the folder
        holds something else, or a study of another config, search space or data, or where another
        command works on it.
        """
        described = {"config": config.to_json(), "data": dict(fingerprint)}
        self._check(described)
        with hold_folder(self.path):
            # Again, as another command may have been quicker.
            self._check(described)
            write_whole(self.description, write_yaml(described))
            yield

    def _check(self, described: dict[str, Any]) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path}: is a file. Name a folder for the study with --study.")
        if self.description.exists():
            self._compare(described)
        elif self.path.exists() and not is_empty(self.path):
            raise OutputError(
                f"{self.path}: holds files already, and no study. Name another folder with --study."
            )

    def _compare(self, described: dict[str, Any]) -> None:
        try:
            found = read_yaml(self.description)
        except ConfigError as error:
            raise OutputError(f"{error} Name another folder with --study.") from None
        before, after = _flat(found), _flat(described)
        changed = [
            key
            for key in dict.fromkeys([*before, *after])
            if before.get(key) != after.get(key) and not _is_free(key)
        ]
        if not changed:
            return
        lines = [_say_change(key, before, after) for key in changed]
        if len(lines) > _MOST_SHOWN:
            lines[_MOST_SHOWN:] = [f"and {len(lines) - _MOST_SHOWN} more"]
        raise OutputError(
            "\n  ".join([f"{self.path}: holds a study of something else:", *lines])
            + "\n  Name another folder with --study, or go back to what was searched."
        )


def _flat(group: Any, path: str = "") -> dict[str, str]:
    """Return every setting as JSON, by its path."""
    if isinstance(group, dict) and group:
        found: dict[str, str] = {}
        for key, value in group.items():
            found |= _flat(value, f"{path}.{key}" if path else str(key))
        return found
    return {path: json.dumps(group, default=str)}


def _is_free(key: str) -> bool:
    return any(f"{key}.".startswith(f"config.{free}.") for free in _FREE)


def _say_change(key: str, before: Mapping[str, str], after: Mapping[str, str]) -> str:
    part, _, name = key.partition(".")
    if part == "data":
        return f"data of stream {name}: other content than in the study"
    return f"{name}: {before.get(key, 'not there')} in the study, {after.get(key, 'not there')} now"
