"""Settings of a search for settings."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from mmts.config_base import Config, Duration

_MOST_LISTED = 64


def _to_number(value: Any) -> int | float:
    # Not left to pydantic: whether a number was written with a point says what it may become.
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise PydanticCustomError("number", "{value} is not a number", {"value": repr(value)})
    return value


Number = Annotated[int | float, BeforeValidator(_to_number)]


class Range(Config):
    """Numbers from `low` to `high`, both included.

    Without `step` any number between; with it `low`, `low + step` and so on, which are whole
    numbers where both are.
    """

    low: Number = Field(description="Least value.")
    high: Number = Field(description="Greatest value.")
    step: Number | None = Field(
        None, description="Distance of values; 1 for whole numbers, null for any number."
    )
    log: bool = Field(
        False, description="Whether the logarithm is spread evenly, so that each decade counts."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        if self.low >= self.high:
            problems.append(f"'low' ({self.low}) must lie below 'high' ({self.high})")
        if self.log and self.low <= 0:
            problems.append(f"'log' needs numbers above 0, and 'low' is {self.low}")
        if self.step is not None and self.step <= 0:
            problems.append(f"'step' must be above 0, and is {self.step}")
        elif self.step is not None and self.low < self.high:
            if self.log and (self.step != 1 or not self.is_whole):
                problems.append("'log' goes with 'step: 1' or none; list the values as choices")
            steps = (self.high - self.low) / self.step
            if not math.isclose(steps, round(steps), abs_tol=1e-9):
                problems.append(
                    f"steps of {self.step} from {self.low} never meet 'high' ({self.high})"
                )
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def is_whole(self) -> bool:
        """Whether all values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.step, int)

    def examples(self) -> list[int | float]:
        """Return values to check the range by: all of few, else the least and the greatest."""
        if self.step is not None:
            count = round((self.high - self.low) / self.step) + 1
            if count <= _MOST_LISTED:
                return [self.low + place * self.step for place in range(count)]
        return [self.low, self.high]


def label(choice: Any) -> str:
    """Write a choice so that no two are alike: 1, 1.0, '1' and true are four."""
    return json.dumps(choice, default=str, sort_keys=True)


def _differ(choices: tuple[Any, ...]) -> tuple[Any, ...]:
    labels = [label(choice) for choice in choices]
    twice = [found for found in dict.fromkeys(labels) if labels.count(found) > 1]
    if twice:
        raise ValueError(f"{', '.join(twice)} stands there more than once; list it once")
    return choices


Choices = Annotated[tuple[Any, ...], Field(min_length=1), AfterValidator(_differ)]
"""Values of any kind, such as `[conv, patch]`."""


def _shape(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        return "(choices)"
    return "(range)" if isinstance(value, dict | Range) else None


Space = Annotated[
    Annotated[Range, Tag("(range)")] | Annotated[Choices, Tag("(choices)")],
    Discriminator(
        _shape,
        custom_error_type="space",
        custom_error_message="write a list of choices, or a range: {low: 1, high: 8, step: 1}",
    ),
]
"""What one key may become."""

Key = Annotated[str, StringConstraints(pattern=r"^[^.\s]+(\.[^.\s]+)*$")]
"""The path of a setting, such as `training.learning_rate`."""


class TuningConfig(Config):
    """Which settings are searched, and how; the best is what does best on the validation split."""

    search: dict[Key, Space] = Field(
        min_length=1,
        description="By the path of a key of this config, such as training.learning_rate: a list "
        "of choices, {low, high} for numbers, with `step` for whole ones, and `log: true` where "
        "each decade counts the same.",
    )
    num_trials: int = Field(20, gt=0, description="Trainings of the whole study.")
    timeout: Duration | None = Field(
        None, description="Time after which a command begins no further trial."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of what is tried.")
    startup_trials: int = Field(
        5,
        gt=0,
        description="Trials that are drawn at random, before any learning; the median pruner ends "
        "none of them.",
    )
    pruner: Literal["median", "halving", "none"] = Field(
        "median",
        description="Which trials end early: median, those whose best validation loss is worse "
        "than the median of others after as many epochs; halving, all but the best quarter after "
        "1, 4, 16 ... epochs; none.",
    )
    warmup_epochs: int = Field(
        1, ge=0, description="Epochs after which the median pruner ends no trial yet."
    )
    workers: int = Field(1, gt=0, description="Processes that train at the same time.")
