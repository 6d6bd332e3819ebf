"""A study as Optuna keeps it: what is tried next, what came of it, and what was interrupted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from mmts.errors import OutputError
from mmts.tuning.config import Range, Space, TuningConfig, label

Outcome = Literal["complete", "pruned", "failed", "interrupted"]

_NAME = "mmts"
_INTERRUPTED = "interrupted"
_RUN_ID = "run_id"
# Another worker may be writing.
_SECONDS_TO_WAIT = 120
_OUTCOMES: dict[TrialState, Outcome] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class TrialRecord:
    """What came of one trial.

    loss: the best on the validation split; of a trial that was pruned, so far. None where there
    is none. values: what was tried, by key. seconds: of the training. reason: why it failed.
    run_id: of its training in MLflow.
    """

    number: int
    outcome: Outcome
    loss: float | None
    values: dict[str, Any]
    best_epoch: int | None
    num_epochs: int | None
    seconds: float | None
    reason: str | None
    run_id: str | None


@contextmanager
def storage_errors(database: Path) -> Iterator[None]:
    """Turn what goes wrong with the file of a study into the one error that a user can act on."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        # What SQLite says of it stands in one line, before the statement.
        cause = error.__cause__ or error
        said = str(getattr(cause, "orig", None) or cause).partition("\n")[0]
        raise OutputError(
            f"{database}: the trials cannot be read or written: {said}. Make room there, or take "
            "the study to another folder; the same command goes on with what is missing."
        ) from None


class Study:
    """Trials of a search space, kept in a SQLite file that several processes may open.

    With one worker, what is tried depends on the seed and on what came of the trials before, and
    not on when the study was interrupted.
    """

    def __init__(self, database: Path, tuning: TuningConfig) -> None:
        """Open a study, or begin it."""
        self.tuning = tuning
        optuna.logging.disable_default_handler()
        self._storage = RDBStorage(
            f"sqlite:///{database.absolute().as_posix()}",
            engine_kwargs={"connect_args": {"timeout": _SECONDS_TO_WAIT}},
        )
        self._study = optuna.create_study(
            study_name=_NAME,
            storage=self._storage,
            direction="minimize",
            load_if_exists=True,
            pruner=_build_pruner(tuning),
        )

    def close(self) -> None:
        """Let go of the file."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    @property
    def run_id(self) -> str | None:
        """The run of the study in MLflow."""
        found: str | None = self._study.user_attrs.get(_RUN_ID)
        return found

    def keep_run_id(self, run_id: str) -> None:
        """Remember the run in MLflow, for when the study goes on."""
        self._study.set_user_attr(_RUN_ID, run_id)

    def records(self) -> list[TrialRecord]:
        """Return all trials that have ended or were interrupted, in order."""
        return [
            self._record(trial)
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state in _OUTCOMES or trial.state == TrialState.RUNNING
        ]

    def repeat_interrupted(self) -> Iterator[TrialRecord]:
        """Plan anew what was running when the study was killed, which nothing runs any more.

        Yields the interrupted trials, whose files are of no use; each counts as ended when the next
        one is asked for, so that one that is killed over its files is yielded once more.
        """
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if _INTERRUPTED not in trial.user_attrs:
                # What it was given to try, as it may not have come to trying all of it.
                planned = trial.system_attrs.get("fixed_params", {})
                self._study.enqueue_trial({**planned, **trial.params})
                # In this order: a kill between the two repeats a trial once more, and loses none.
                self._storage.set_trial_user_attr(trial._trial_id, _INTERRUPTED, True)
            yield self._record(trial)
            self._study.tell(trial.number, state=TrialState.FAIL)

    def ask(self) -> OpenTrial:
        """Draw the next trial."""
        trial = self._study.ask()
        earlier = self._study.get_trials(deepcopy=False)[: trial.number]
        # Its place among those that were not interrupted, so that it draws the same as in a study
        # that never was; and not the count of those that have ended, which workers share.
        place = trial.number - sum(_INTERRUPTED in other.user_attrs for other in earlier)
        self._study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=self.tuning.startup_trials,
            multivariate=False,
            constant_liar=self.tuning.workers > 1,
            seed=(self.tuning.seed * 1_000_003 + place) % 2**32,
        )
        search = self.tuning.search
        values = {key: _suggest(trial, key, space) for key, space in search.items()}
        return OpenTrial(self._study, trial, values)

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        notes = trial.user_attrs
        outcome = _OUTCOMES.get(trial.state, "interrupted")
        return TrialRecord(
            number=trial.number,
            outcome="interrupted" if _INTERRUPTED in notes else outcome,
            loss=notes.get("loss"),
            values={
                key: _value_of(space, trial.params[key])
                for key, space in self.tuning.search.items()
                if key in trial.params
            },
            best_epoch=notes.get("best_epoch"),
            num_epochs=notes.get("num_epochs"),
            seconds=notes.get("seconds"),
            reason=notes.get("reason"),
            run_id=notes.get(_RUN_ID),
        )


class OpenTrial:
    """One trial while it is trained."""

    def __init__(self, study: optuna.Study, trial: optuna.Trial, values: Mapping[str, Any]) -> None:
        """Take a trial; values: what it tries, by key."""
        self.number = trial.number
        self.values = values
        self.was_pruned = False
        self._study = study
        self._trial = trial

    def keep_run_id(self, run_id: str | None) -> None:
        """Remember the run in MLflow, to say how it ended if nobody else could."""
        if run_id is not None:
            self._note(**{_RUN_ID: run_id})

    def goes_on(self, epoch: int, loss: float, is_last: bool) -> bool:
        """Take the validation loss of an epoch, from 1; returns whether to train on.

        What was trained to its end is a result, however it compares. is_last: whether it was.
        """
        self._trial.report(loss, epoch)
        # Asked in any case, as by that others are compared with it.
        seems_hopeless = bool(self._trial.should_prune())
        self.was_pruned = seems_hopeless and not is_last
        return not self.was_pruned

    def end(self, loss: float, best_epoch: int, num_epochs: int, seconds: float) -> None:
        """Write down what came of a training that ended well, pruned or not."""
        self._note(loss=loss, best_epoch=best_epoch, num_epochs=num_epochs, seconds=seconds)
        if self.was_pruned:
            self._study.tell(self._trial, state=TrialState.PRUNED)
        else:
            self._study.tell(self._trial, loss)

    def fail(self, reason: str, seconds: float) -> None:
        """Write down why there is no result."""
        self._note(reason=reason, seconds=seconds)
        self._study.tell(self._trial, state=TrialState.FAIL)

    def _note(self, **notes: Any) -> None:
        for name, value in notes.items():
            self._trial.set_user_attr(name, value)


def best_of(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the first trial with the least loss of those that were trained to their end."""
    complete = [record for record in records if record.outcome == "complete"]
    return min(complete, key=lambda record: (record.loss, record.number), default=None)


def _build_pruner(tuning: TuningConfig) -> optuna.pruners.BasePruner:
    match tuning.pruner:
        case "median":
            return optuna.pruners.MedianPruner(
                n_startup_trials=tuning.startup_trials,
                # Epochs count from 1.
                n_warmup_steps=tuning.warmup_epochs + 1,
            )
        case "halving":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=4)
        case "none":
            return optuna.pruners.NopPruner()


def _suggest(trial: optuna.Trial, key: str, space: Space) -> Any:
    if not isinstance(space, Range):
        # By their labels, as Optuna would take 1, 1.0 and true for one choice.
        return _value_of(space, trial.suggest_categorical(key, [label(value) for value in space]))
    if space.is_whole:
        low, high, step = (int(number) for number in (space.low, space.high, space.step or 1))
        return trial.suggest_int(key, low, high, step=step, log=space.log)
    return trial.suggest_float(key, space.low, space.high, step=space.step, log=space.log)


def _value_of(space: Space, found: Any) -> Any:
    if isinstance(space, Range):
        return found
    return next(value for value in space if label(value) == found)
