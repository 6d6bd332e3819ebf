"""Where in MLflow a run belongs, by what its own folder tells.

A checkpoint names a store too, and may come from anybody: a server that it names would be told the
password or token that is for another, and a database would be written to.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmts.errors import TrackingError
from mmts.tracking.config import TrackingConfig
from mmts.tracking.journal import FOLDER, Journal, begins_run
from mmts.tracking.store import TrackingStore, locate_store


@dataclass(frozen=True)
class _Place:
    """Where a run belongs, as its journal has it: the uri of a config, and the folder of runs.

    is_of_training: whether a training wrote it, and not a command that only added to the run.
    """

    uri: str | None
    runs: Path
    is_of_training: bool

    @property
    def store(self) -> TrackingStore:
        return locate_store(self.uri, self.runs)


def store_of(journal: Journal) -> TrackingStore:
    """Return where a run belongs; raises TrackingError where its journal does not tell."""
    place = _place_in(journal)
    if place is None:
        raise TrackingError(
            f"{journal.path}: does not begin with a run, and is damaged. Take the folder "
            f"{journal.folder} away, and no command looks at it again."
        )
    return place.store


def find_trusted_store(config: TrackingConfig, folder: Path, runs: Path) -> TrackingStore | None:
    """Return the store that a checkpoint names, where its folder bears it out; None otherwise.

    config: of the checkpoint. folder: in which that lies. runs: the folder of runs, whose own store
    needs no record. Any other has to be the one that a training has written down in the folder.
    """
    place = _place_in(Journal(folder / FOLDER, folder))
    # Commands that only add to a run took the checkpoint's word for it in earlier versions.
    if place is None or not place.is_of_training:
        return locate_store(None, runs) if config.uri is None else None
    return place.store if place.uri == config.uri else None


def _place_in(journal: Journal) -> _Place | None:
    """Return what a journal tells; None where it is damaged or not there."""
    found = None
    for number, (record, _) in enumerate(journal.read()):
        if number == 0 and record["record"] != "run":
            return None
        # A study may go on in another store.
        if number == 0 or (record["record"] == "resumed" and "store" in record):
            uri, store = record.get("uri"), record.get("store")
            if not isinstance(uri, str | None) or not isinstance(store, str):
                return None
            is_of_training = begins_run(record) if found is None else found.is_of_training
            found = _Place(uri, (journal.home / store).resolve(), is_of_training)
    return found
