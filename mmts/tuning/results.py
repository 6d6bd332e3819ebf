"""What a study leaves in its folder: a table, the best config, and the best checkpoint alone."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from contextlib import suppress

from mmts.config import ExperimentConfig
from mmts.files import output_error, write_whole
from mmts.tuning.config import label
from mmts.tuning.folder import StudyFolder
from mmts.tuning.space import SearchedConfig
from mmts.tuning.study import TrialRecord, best_of


def keep_results(
    searched: SearchedConfig, folder: StudyFolder, records: Sequence[TrialRecord]
) -> None:
    """Bring the folder up to date with the trials that have ended.

    May be broken off at any place, and be done again.
    """
    best = best_of(records)
    if best is not None:
        _keep_checkpoint(folder, best)
        write_whole(folder.best_config, _best_yaml(searched.with_values(best.values), best))
    for record in records:
        if record.outcome != "interrupted":
            for checkpoint in folder.trial(record.number).glob("*.mmts"):
                # One that stays takes room, and is tried again the next time.
                with suppress(OSError):
                    checkpoint.unlink()
    write_whole(folder.table, trials_table(records, list(searched.tuning.search)))


def _keep_checkpoint(folder: StudyFolder, best: TrialRecord) -> None:
    found = folder.trial(best.number) / folder.best_checkpoint.name
    try:
        if found.exists():
            found.replace(folder.best_checkpoint)
    except OSError as error:
        raise output_error(folder.best_checkpoint, error) from None


def trials_table(records: Sequence[TrialRecord], keys: Sequence[str]) -> str:
    """Write the trials as CSV, in order; a key of the search is a column."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["trial", "outcome", "validation_loss", "best_epoch", "epochs", "seconds", *keys, "reason"]
    )
    for record in records:
        seconds = None if record.seconds is None else round(record.seconds, 1)
        values = [_cell(record.values[key]) if key in record.values else None for key in keys]
        writer.writerow(
            [
                record.number, record.outcome, record.loss, record.best_epoch, record.num_epochs,
                seconds, *values, record.reason,
            ]
        )  # fmt: skip
    return text.getvalue()


def _best_yaml(config: ExperimentConfig, best: TrialRecord) -> str:
    return (
        f"# The best of the study's trials: number {best.number}, validation loss "
        f"{best.loss:.6g} after epoch {best.best_epoch}.\n" + config.to_yaml()
    )


def _cell(value: object) -> object:
    return value if isinstance(value, str | int | float) else label(value)
