"""Where MLflow keeps the runs, and how to speak of that place without giving a password away."""

from __future__ import annotations

import re
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mmts.tracking.secrets import HIDDEN, hide_secrets, hide_user

_DATABASE = "mlflow.db"
_ARTIFACTS = "mlartifacts"
_SQLITE_FILE = re.compile(r"sqlite(\+\w+)?:///(?!:memory:|file:|\?|$)")
_SERVERS = ("http", "https", "databricks", "databricks-uc")
_LONGEST_REASON = 300

_creating = threading.Lock()


@dataclass(frozen=True)
class TrackingStore:
    """A tracking server, or a database that MLflow opens itself.

    artifact_location: for new experiments; None where the server decides. database: the file of
    a SQLite store. shown: what to call the store in messages.
    """

    uri: str = field(repr=False)
    artifact_location: str | None
    database: Path | None
    shown: str

    @property
    def is_server(self) -> bool:
        return self.artifact_location is None

    def explain(self, error: BaseException) -> str:
        """Return the first line of an error of this store, without secrets."""
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        line = hide_secrets(line)
        for secret in _secrets(self.uri):
            line = line.replace(secret, HIDDEN)
        return line if len(line) <= _LONGEST_REASON else line[: _LONGEST_REASON - 1] + "…"


def locate_store(uri: str | None, runs: Path) -> TrackingStore:
    """Return the store of a tracking URI; without one, a SQLite file in the folder of runs.

    Artifacts of a database go into the folder of runs too, by an absolute address: MLflow's own
    default depends on the folder in which each process happens to start.
    """
    artifacts = (runs.absolute() / _ARTIFACTS).as_uri()
    if uri is None:
        database = runs / _DATABASE
        address = f"sqlite:///{database.absolute().as_posix()}"
        return TrackingStore(address, artifacts, database, shown=str(database))
    if sqlite := _SQLITE_FILE.match(uri):
        database = Path(uri[sqlite.end() :].partition("?")[0])
        return TrackingStore(uri, artifacts, database, shown=str(database))
    server = uri.partition(":")[0].lower() in _SERVERS
    shown = hide_user(uri).partition("?")[0]
    return TrackingStore(uri, None if server else artifacts, database=None, shown=shown)


def create_database(store: TrackingStore) -> None:
    """Make the SQLite file of a store, whole or not at all; leave one that is there as it is.

    MLflow builds its tables by a hundred migrations, for seconds. Two trainings that begin at the
    same time break each other's, and one that is killed leaves half a store.
    """
    database = store.database
    if database is None or database.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    database.parent.mkdir(parents=True, exist_ok=True)
    # A lock, since the migrations of alembic go through global variables.
    with _creating, tempfile.TemporaryDirectory(dir=database.parent, prefix=".mlflow-") as folder:
        new = Path(folder) / database.name
        address = f"sqlite:///{new.absolute().as_posix()}"
        # MLflow types its servers' stores only in part.
        made = SqlAlchemyStore(address, store.artifact_location)  # type: ignore[no-untyped-call]
        made.engine.dispose()
        try:
            # Unlike a rename it fails where another has been quicker.
            database.hardlink_to(new)
        except FileExistsError:
            pass
        except OSError:
            # A file system without hard links.
            if not database.exists():
                new.replace(database)


def _secrets(uri: str) -> set[str]:
    """Return what must not be shown of a URI: its password, and the values of its query."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return set()
    values = [parts.password or "", *(item.partition("=")[2] for item in parts.query.split("&"))]
    # Shorter ones are settings such as a port, and would make holes in every message.
    return {form for value in values for form in (value, unquote(value)) if len(form) > 3}
