"""What a run records, kept in its own folder whether MLflow answers or not.

`tracking/records.jsonl` holds one record a line, in order, and is only ever appended to;
`tracking/files/` holds what is made for MLflow alone; `tracking/mlflow.json` says which run of
MLflow it is and how far it has been brought there.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmts.errors import OutputError
from mmts.files import JSON_FAULTS, write_whole

FOLDER = "tracking"
RECORDS = "records.jsonl"
_FILES = "files"
_DELIVERED = "mlflow.json"
_LOCK = "lock"
_MOST_UNWRITTEN = 50_000
_ENDLESS = 2**63
"""No store takes a whole number that needs more than 64 bits."""

Record = dict[str, Any]

_WORD, _PERHAPS_WORD = (str,), (str, type(None))
_FORMS: dict[str, dict[str, tuple[type, ...]]] = {
    "params": {"values": (dict,)},
    "tags": {"values": (dict,)},
    "metrics": {"values": (dict,), "step": (int,), "time": (int,)},
    "section": {"heading": _WORD, "body": _WORD},
    "dataset": {
        **dict.fromkeys(("name", "digest", "source", "context", "profile"), _WORD),
        "schema": _PERHAPS_WORD,
    },
    "file": {"path": _WORD, "folder": _PERHAPS_WORD},
    "status": {"status": _WORD, "time": (int,)},
    "resumed": {"tags": (dict,)},
}
"""What each kind of record holds besides its kind."""

_FORM_OF_NEW_RUN: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("id", "experiment", "name"), _WORD),
    "tags": (dict,),
    "time": (int,),
}
"""What the record of a run holds that was begun in this folder, and not only added to."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivered:
    """How far a journal has been brought to MLflow.

    run_id: None until MLflow has made the run. former: ids of the same run in stores that have
    lost it. values, files: bytes of the journal whose values, and whose files, are there.
    """

    run_id: str | None = None
    former: tuple[str, ...] = ()
    values: int = 0
    files: int = 0

    def is_of(self, run_id: str | None) -> bool:
        """Tell whether a run is this one; None, of a checkpoint that does not know, is."""
        return run_id is None or run_id in (self.run_id, *self.former)


class Journal:
    """The records of one run, safe to append to from several threads and processes.

    folder: where they lie. home: the run's own folder, whose files are not copied.
    Appending never raises: what the disk does not take is kept in memory and tried again.
    """

    def __init__(self, folder: Path, home: Path) -> None:
        """Take the folder; it is made with the first record."""
        self.folder = folder
        self.home = home
        self.path = folder / RECORDS
        self._lock = threading.Lock()
        self._unwritten: list[bytes] = []
        self._is_torn = False
        self._warned = False

    def begin(self) -> None:
        """Make the folder; where that cannot be, one for as long as this process lasts."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                # A last line that is not whole was being written when the process was killed.
                self._is_torn = file.tell() > 0 and _last_byte(self.path) != b"\n"
        except OSError as error:
            temporary = tempfile.mkdtemp(prefix="mmts-")
            weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)
            logger.warning(
                "%s cannot be written (%s): what the run records is lost unless MLflow takes it "
                "before the command ends.", self.path, error.strerror,
            )  # fmt: skip
            self.folder = self.home = Path(temporary)
            self.path = self.folder / RECORDS

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record; one line, in one write, so that others can append meanwhile."""
        line = (json.dumps(record, ensure_ascii=False) + "\n").encode(errors="replace")
        with self._lock:
            if len(self._unwritten) < _MOST_UNWRITTEN:
                self._unwritten.append(line)
            self._write()

    def sync(self) -> None:
        """See to it that what was appended outlasts a loss of power."""
        with self._lock:
            self._write()
            try:
                with self.path.open("ab") as file:
                    os.fsync(file.fileno())
            except OSError as error:
                self._warn(error)

    def read(self, offset: int = 0) -> Iterator[tuple[Record, int]]:
        """Yield the whole records after so many bytes, each with the byte at which it ends.

        A line that is no record, as one that was torn by a full disk, is left out, and so is one
        that lacks what its kind of record holds: a journal may come from a stranger.
        """
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                offset += len(line)
                try:
                    record = json.loads(line)
                except JSON_FAULTS:
                    continue
                if _is_record(record):
                    yield record, offset

    def keep(self, content: bytes, name: str) -> Path:
        """Write a file that is made for MLflow alone; raises OutputError."""
        path = self._place(name)
        write_whole(path, content)
        return path

    def copy(self, path: Path, name: str) -> Path:
        """Copy a file that lies elsewhere; raises OSError."""
        return Path(shutil.copyfile(path, self._place(name)))

    def address(self, path: Path) -> str | None:
        """Return how to find a file from here, wherever the run is moved; None if it is outside."""
        if not path.resolve().is_relative_to(self.home.resolve()):
            return None
        return Path(os.path.relpath(path.resolve(), self.folder.resolve())).as_posix()

    def find(self, address: str) -> Path | None:
        """Return the file of such an address; None for one outside of the run's folder.

        A journal may come from a stranger, and nothing else of this machine is sent for it.
        """
        path = (self.folder / address).resolve()
        return path if path.is_relative_to(self.home.resolve()) else None

    @property
    def delivered(self) -> Delivered:
        """How far it has been brought to MLflow."""
        try:
            found = json.loads((self.folder / _DELIVERED).read_bytes())
            return Delivered(
                None if found["run_id"] is None else str(found["run_id"]),
                tuple(map(str, found["former"])),
                max(0, int(found["values"])),
                max(0, int(found["files"])),
            )
        except (OSError, *JSON_FAULTS):
            # To send all of it again does no harm.
            return Delivered()

    def note(self, delivered: Delivered) -> None:
        """Write down how far it has been brought."""
        try:
            write_whole(self.folder / _DELIVERED, json.dumps(asdict(delivered)) + "\n")
        except OutputError as error:
            logger.debug("sent again next time: %s", error)

    def claim(self) -> sqlite3.Connection | None:
        """Take the right to bring it to MLflow, until that is closed; None where another has it."""
        # The system lets go of it whatever ends this process, and on every system.
        try:
            lock = sqlite3.connect(self.folder / _LOCK, timeout=0)
        except sqlite3.OperationalError:
            # Where there can be no lock, as in a folder that cannot be written, nobody has it.
            return sqlite3.connect(":memory:")
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            # Any other says that the file is no lock of ours, and holds nobody off.
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                lock.close()
                return None
        return lock

    def _place(self, name: str) -> Path:
        path = self.folder / _FILES / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _write(self) -> None:
        """Write what is not written yet, as far as the disk takes it."""
        try:
            with self.path.open("ab", buffering=0) as file:
                while self._unwritten:
                    line = self._unwritten[0]
                    whole = b"\n" + line if self._is_torn else line
                    self._is_torn = True
                    if file.write(whole) < len(whole):
                        continue  # The disk is full, which the next attempt says.
                    self._is_torn = False
                    del self._unwritten[0]
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "%s cannot be written (%s): what the run records is kept in memory until it can. "
                "Make room.", self.path, error.strerror,
            )  # fmt: skip


def journal_of(run_folder: Path, run_id: str | None = None) -> Journal:
    """Return the journal of a run, whether it exists or not.

    run_id: as a checkpoint in the folder knows it. Where that is another run than the folder's
    own, such as that of the best trial in the folder of a study, it has a journal beside.
    """
    own = Journal(run_folder / FOLDER, run_folder)
    if own.delivered.is_of(run_id):
        return own
    return Journal(run_folder / FOLDER / str(run_id), run_folder)


def place_of(uri: str | None, store: Path, run_folder: Path) -> Record:
    """Return where MLflow keeps a run, so that it is found when all of it has moved.

    uri: of the config. store: the folder of runs.
    """
    return {"uri": uri, "store": os.path.relpath(store.resolve(), run_folder.resolve())}


def find_run_id(run_folder: Path, run_id: str | None) -> str | None:
    """Return the run that MLflow knows; run_id: as a checkpoint in the folder knows it.

    A checkpoint that was written while MLflow was away does not know its run.
    """
    delivered = Journal(run_folder / FOLDER, run_folder).delivered
    return (delivered.run_id or run_id) if delivered.is_of(run_id) else run_id


def find_journals(folder: Path) -> list[Journal]:
    """Return the journals in a folder and below it, those above first."""
    paths = sorted(folder.rglob(RECORDS), key=lambda path: (len(path.parts), path))
    homes = {path: _home_of(path.parent) for path in paths}
    return [Journal(path.parent, home) for path, home in homes.items() if home is not None]


def _home_of(folder: Path) -> Path | None:
    for place in (folder, folder.parent):
        if place.name == FOLDER:
            return place.parent
    return None


def begins_run(record: Record) -> bool:
    """Tell whether a record is that of a training, which begins a run and does not only add."""
    return record["record"] == "run" and "experiment" in record


def _is_record(found: Any) -> bool:
    """Tell whether what a line holds has the form of a record."""
    if not isinstance(found, dict) or not isinstance(found.get("record"), str):
        return False
    form = _FORM_OF_NEW_RUN if begins_run(found) else _FORMS.get(found["record"], {})
    is_value = _is_number if found["record"] == "metrics" else _is_word
    for key, types in form.items():
        if key not in found or not isinstance(found[key], types):
            return False
        if isinstance(found[key], int) and abs(found[key]) >= _ENDLESS:
            return False
        if isinstance(found[key], dict) and not all(map(is_value, found[key].values())):
            return False
    return True


def _is_word(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    """Tell whether a value is a number, or the word for one that JSON does not have."""
    if isinstance(value, int):
        return abs(value) < _ENDLESS
    return isinstance(value, float) or value in ("nan", "inf", "-inf")


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)
