"""What `mmts evaluate` has left in the folder of a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmts.errors import RunError
from mmts.files import JSON_FAULTS
from mmts.run_folders.history import to_count, to_number

MODEL = "model"
MEASURES = ("mae", "rmse", "mase", "wql", "crps_by_quantiles", "coverage")
_ALL_TARGETS = "all targets"
_FILE = "evaluation.json"


@dataclass(frozen=True)
class KeptEvaluation:
    """The scores of a model and of its baselines, over all targets and steps.

    variant: what was done to the model or its streams, such as `calibrated` or
    `without/weather`; empty for nothing. dates: first moment and end of the split.
    scores: per method, in the target's own units; None where a measure is not defined.
    epoch: of the checkpoint that was evaluated.
    """

    variant: str
    split: str
    dates: tuple[str, str]
    num_windows: int
    epoch: int
    verdict: str
    scores: dict[str, dict[str, float | None]]

    @property
    def place(self) -> str:
        """What to call it: `test`, or `test, calibrated`."""
        return ", ".join(filter(None, [self.split, self.variant]))

    def best_baseline(self, measure: str = "mae") -> tuple[str, float] | None:
        """Return the baseline with the least error, and its error."""
        errors = {
            name: error
            for name, scores in self.scores.items()
            if name != MODEL and (error := scores[measure]) is not None
        }
        return min(errors.items(), key=lambda pair: pair[1], default=None)


def find_evaluations(run: Path) -> list[Path]:
    """Return the files that evaluations of a run have written, that of the plain model first."""
    folder = run / "evaluation"
    return sorted(folder.rglob(_FILE), key=lambda path: (len(path.parts), path))


def read_evaluation(run: Path, path: Path) -> KeptEvaluation:
    """Read one of them; raises RunError for a file that is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        first, end = found["dates"][found["split"]]
        scores = {
            str(method): _overall(by_target[_ALL_TARGETS]["overall"])
            for method, by_target in found["scores"].items()
        }
        if MODEL not in scores:
            raise ValueError("it holds no scores of the model")
        return KeptEvaluation(
            variant=_variant_of(path.parent.relative_to(run / "evaluation"), found["split"]),
            split=str(found["split"]),
            dates=(str(first), str(end)),
            num_windows=to_count(found["num_windows"]),
            epoch=to_count(found["epoch"]),
            verdict=str(found["verdict"]),
            scores=scores,
        )
    except (OSError, *JSON_FAULTS) as error:
        raise RunError(
            f"{path}: not what `mmts evaluate` wrote, or damaged ({type(error).__name__}: "
            f"{error}). Evaluate again."
        ) from None


def _variant_of(folder: Path, split: str) -> str:
    parts = [part for place, part in enumerate(folder.parts) if place or part != split]
    return "/".join(parts)


def _overall(scores: dict[str, Any]) -> dict[str, float | None]:
    # Older versions knew fewer measures.
    return {
        name: None if scores.get(name) is None else to_number(scores[name]) for name in MEASURES
    }
