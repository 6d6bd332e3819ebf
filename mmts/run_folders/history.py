"""What a training has written down of its epochs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmts.errors import RunError
from mmts.files import JSON_FAULTS, write_whole

_MOST = 2**53
"""The largest count that a float holds as well, as which it is shown."""


@dataclass(frozen=True)
class Epoch:
    """Losses and speed of an epoch.

    number: 0 for what training starts from, with the linear path alone, which has no train loss.
    wait_share: of the time of the epoch, in which it waited for data.
    """

    number: int
    validation_loss: float
    train_loss: float | None = None
    windows_per_second: float | None = None
    wait_share: float | None = None


def read_history(path: Path) -> tuple[Epoch, ...]:
    """Return the epochs of a training, in order; none where the file does not exist.

    A last line that is not whole is left out: it is being written, or was when the training was
    killed. Raises RunError for a file that cannot be read otherwise.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read: {error}.") from None
    found = {}
    *whole, _ = text.split("\n")
    for number, line in enumerate(whole, start=1):
        try:
            epoch = _epoch_of(json.loads(line))
        except JSON_FAULTS:
            raise RunError(f"{path}, line {number}: is no epoch of a training.") from None
        found[epoch.number] = epoch
    return tuple(found[number] for number in sorted(found))


def keep_epochs(path: Path, last: int) -> None:
    """Take out of a history what it tells of epochs after one, and a line that is not whole.

    Raises RunError for a file that cannot be read, and OutputError for one that cannot be written.
    """
    if not path.exists():
        return
    read_history(path)
    *whole, _ = path.read_text(encoding="utf-8").split("\n")
    kept = [line for line in whole if _epoch_of(json.loads(line)).number <= last]
    write_whole(path, "".join(f"{line}\n" for line in kept))


def best_of(epochs: Sequence[Epoch]) -> Epoch | None:
    """Return the epoch whose weights a training keeps, the first with the least loss."""
    return min(epochs, key=lambda epoch: epoch.validation_loss, default=None)


def has_ended(epochs: Sequence[Epoch], max_epochs: int, patience: int) -> bool:
    """Tell whether a training with these epochs goes no further by itself."""
    trained = [epoch for epoch in epochs if epoch.number > 0]
    best = best_of(trained)
    if best is None:
        return False
    last = trained[-1].number
    return last >= max_epochs or last - best.number >= patience


def mean_speed(epochs: Sequence[Epoch]) -> float | None:
    """Return the windows per second of all epochs together; None where none was trained."""
    speeds = [epoch.windows_per_second for epoch in epochs if epoch.windows_per_second]
    # Each epoch reads as many windows: the mean of its times.
    return len(speeds) / sum(1 / speed for speed in speeds) if speeds else None


def to_number(value: Any) -> float:
    """Return a number that a file holds; raises one of JSON_FAULTS where it is none, or endless."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is no number that was measured")
    return number


def to_count(value: Any) -> int:
    """Return a whole number that a file holds; raises one of JSON_FAULTS where it is none."""
    count = int(value)
    if not 0 <= count <= _MOST:
        raise ValueError(f"{value} is no count")
    return count


def _epoch_of(line: Mapping[str, Any]) -> Epoch:
    def number(key: str) -> float | None:
        return None if line.get(key) is None else to_number(line[key])

    return Epoch(
        number=to_count(line["epoch"]),
        validation_loss=to_number(line["val/loss"]),
        train_loss=number("train/loss"),
        windows_per_second=number("train/windows_per_second"),
        wait_share=number("train/wait_share"),
    )
