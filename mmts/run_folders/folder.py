"""The folder of a run: what was trained, how far, and how good it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from mmts.config_yaml import read_yaml
from mmts.errors import MmtsError, RunError, nearest
from mmts.run_folders.description import read_description
from mmts.run_folders.evaluations import MODEL, KeptEvaluation, find_evaluations, read_evaluation
from mmts.run_folders.history import Epoch, best_of, has_ended, read_history
from mmts.run_folders.names import BEST, CONFIG, HISTORY, STUDY
from mmts.tracking.journal import find_run_id

State = Literal["finished", "not finished", "nothing trained"]

T = TypeVar("T")


@dataclass(frozen=True)
class RunFolder:
    """What lies in the folder of a run.

    began: when the config was written, in local time. settings: the resolved config, unchecked.
    description: what best.mmts says of itself, unchecked; empty where there is none.
    notes: what could not be read, and what to do about it.
    """

    path: Path
    began: datetime
    settings: dict[str, Any]
    description: dict[str, Any]
    epochs: tuple[Epoch, ...]
    evaluations: tuple[KeptEvaluation, ...]
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.resolve().name

    @property
    def best(self) -> Epoch | None:
        """The epoch that is kept."""
        return best_of(self.epochs)

    @property
    def num_epochs(self) -> int:
        """Epochs trained."""
        return self.epochs[-1].number if self.epochs else 0

    @property
    def max_epochs(self) -> int | None:
        """Epochs at most, as far as the config tells."""
        return _limit(self.settings, "max_epochs")

    @property
    def state(self) -> State:
        """How far the training came; one that is not finished may be going on."""
        if not self.epochs:
            return "nothing trained"
        most, patience = (_limit(self.settings, name) for name in ("max_epochs", "patience"))
        if most is None or patience is None or not has_ended(self.epochs, most, patience):
            return "not finished"
        return "finished"

    def evaluation(self, split: str = "test") -> KeptEvaluation | None:
        """Return that of the model as it was trained, on a split; None without one."""
        plain = (found for found in self.evaluations if not found.variant)
        return next((found for found in plain if found.split == split), None)

    def to_json(self) -> dict[str, Any]:
        """Return what `mmts runs list` tells as plain JSON values."""
        best, test = self.best, self.evaluation()
        baseline = None if test is None else test.best_baseline()
        return {
            "run": self.name,
            "folder": str(self.path),
            "experiment": _word(self.settings.get("name")),
            "began": self.began.astimezone().isoformat(timespec="seconds"),
            "state": self.state,
            "epochs": self.num_epochs,
            "max_epochs": self.max_epochs,
            "best_epoch": None if best is None else best.number,
            "validation_loss": None if best is None else best.validation_loss,
            "test": None if test is None else asdict(test)["scores"][MODEL],
            "best_baseline": None if baseline is None else baseline[0],
            "best_baseline_mae": None if baseline is None else baseline[1],
            "run_id": find_run_id(self.path, _word(self.description.get("run_id"))),
            "notes": list(self.notes),
        }


def is_run(path: Path) -> bool:
    """Tell whether a folder is that of a run."""
    return (path / CONFIG).is_file()


def read_run(path: Path, reads_config: bool = True) -> RunFolder:
    """Read the folder of a run; what in it is damaged or half written is noted, and left out.

    reads_config: whether the settings are those of config.yaml; else those in the checkpoint serve
    where there is one, which is several times as quick.
    Raises RunError where the folder is none of a run.
    """
    if not is_run(path):
        what = "is no folder of a run: it holds no config.yaml" if path.is_dir() else "no such run"
        raise RunError(f"{path}: {what}. `mmts runs list` shows those that there are.")
    notes: list[str] = []

    def attempt(read: Callable[[Path], T], file: str) -> T | None:
        try:
            return read(path / file)
        except MmtsError as error:
            notes.append(str(error))
            return None

    has_checkpoint = (path / BEST).exists()
    description = attempt(read_description, BEST) if has_checkpoint else None
    kept = None if description is None else description.get("config")
    settings = kept if isinstance(kept, dict) and not reads_config else attempt(read_yaml, CONFIG)
    epochs = attempt(read_history, HISTORY)
    evaluations = []
    for file in find_evaluations(path):
        try:
            evaluations.append(read_evaluation(path, file))
        except RunError as error:
            notes.append(str(error))
    began = datetime.fromtimestamp((path / CONFIG).stat().st_mtime)
    return RunFolder(
        path,
        began,
        settings=settings or {},
        description=description or {},
        epochs=epochs or (),
        evaluations=tuple(evaluations),
        notes=tuple(notes),
    )


def list_runs(folder: Path) -> tuple[list[RunFolder], list[Path]]:
    """Return the runs in a folder, the newest first, and the folders of studies in it.

    Raises RunError where there is no such folder.
    """
    if not folder.is_dir():
        raise RunError(
            f"{folder}: no such folder. Train first, or name the folder that holds the runs."
        )
    children = sorted(path for path in folder.iterdir() if path.is_dir())
    runs = [read_run(path, reads_config=False) for path in children if is_run(path)]
    studies = [path for path in children if (path / STUDY).is_file()]
    return sorted(runs, key=lambda run: (run.began, run.name), reverse=True), studies


def find_run(given: str, runs: Path) -> Path:
    """Return the folder of a run that is named by its folder, its checkpoint or its name alone.

    runs: the folder that holds the runs. Raises RunError, with the nearest name.
    """
    path = Path(given)
    if path.is_file():
        return path.parent
    for place in (path, runs / given):
        if is_run(place):
            return place
    if path.is_dir():
        return path  # To read it says what is wrong with it.
    known = [child.name for child in _children(runs) if is_run(child)]
    raise RunError(f"{given}: no such run{nearest(given, known, _listing(runs, known))}")


def _limit(settings: dict[str, Any], name: str) -> int | None:
    training = settings.get("training")
    found = training.get(name) if isinstance(training, dict) else None
    return found if isinstance(found, int) else None


def _word(value: Any) -> str | None:
    """Return a name from a file of which nothing is checked; None for what is none."""
    return value if isinstance(value, str) else None


def _children(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())


def _listing(runs: Path, known: Sequence[str]) -> str:
    if not known:
        return f", and none in {runs}. Name the folder of a run."
    shown = sorted(known)[-5:]
    return f" in {runs}; there are {', '.join(shown)}{', ...' if len(known) > 5 else ''}."
