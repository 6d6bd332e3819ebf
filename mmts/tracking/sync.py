"""Bringing to MLflow what was recorded while it was away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mmts.errors import RunError, TrackingError
from mmts.tracking.delivery import Delivery, RunGoneError
from mmts.tracking.journal import Journal, find_journals
from mmts.tracking.place import store_of
from mmts.tracking.surroundings import mlflow_settings, quiet_thread


@dataclass(frozen=True)
class Synced:
    """What was brought to MLflow of one run.

    folder: of the run. store: what to call the store; None where the journal is damaged and does
    not tell. is_in_use: whether another command is at it, which brings what is missing itself.
    fault: why not all of it is there; None if it is. left_out: what the store refuses for good.
    """

    folder: Path
    store: str | None
    run_id: str | None
    num_values: int = 0
    num_files: int = 0
    is_in_use: bool = False
    fault: str | None = None
    left_out: tuple[str, ...] = ()


def sync_runs(folder: Path) -> Iterator[Synced]:
    """Bring the runs in a folder, which may be that of one run, to MLflow; yield each when done.

    Values and files that are there are not sent again; a run that the store has lost is made anew.
    To be interrupted does no harm. Raises RunError where the folder holds no tracked run.
    """
    journals = find_journals(folder) if folder.is_dir() else []
    if not journals:
        what = "holds no tracked run" if folder.is_dir() else "no such folder"
        raise RunError(
            f"{folder}: {what}. A training writes down what it tracks in the folder `tracking` "
            "beside its checkpoint."
        )
    for journal in journals:
        yield _sync(journal)


def _sync(journal: Journal) -> Synced:
    try:
        store = store_of(journal)
    except TrackingError as error:
        # Told by run as well: those after it are whole.
        return Synced(journal.home, None, journal.delivered.run_id, fault=f"{error}")
    claim = journal.claim()
    if claim is None:
        return Synced(journal.home, store.shown, journal.delivered.run_id, is_in_use=True)
    with closing(claim), mlflow_settings():
        # Heavy, and once for all.
        import mlflow.tracking  # noqa: F401

        _end_if_killed(journal)
        delivery = Delivery(store, journal)
        fault = None
        with quiet_thread():
            try:
                delivery.open()
                while delivery.send_values() or delivery.send_file():
                    pass
            except RunGoneError as error:
                fault = f"{error}"
            # Whatever goes wrong in MLflow, its database driver or the network: told by run, as
            # the store of the next may answer.
            except Exception as error:  # noqa: BLE001
                fault = store.explain(error)
    return Synced(
        journal.home,
        store.shown,
        delivery.run_id,
        delivery.num_values,
        delivery.num_files,
        fault=fault,
        left_out=tuple(delivery.left_out),
    )


def _end_if_killed(journal: Journal) -> None:
    """Write down that a training ended, where it could not do so itself.

    Nobody is at it any more, as whoever is holds the claim.
    """
    has_ended = True
    for record, _ in journal.read():
        if record["record"] in ("run", "resumed"):
            # What was only added to a run of another folder has no end of its own.
            has_ended = "tags" not in record
        elif record["record"] == "status":
            has_ended = True
    if not has_ended:
        ended = int(journal.path.stat().st_mtime * 1000)
        journal.append({"record": "status", "status": "KILLED", "time": ended})
