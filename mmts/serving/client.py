"""Asking MLflow something that a user waits for: quiet, quick to give up, and loud about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mmts.errors import TrackingError
from mmts.tracking.store import TrackingStore
from mmts.tracking.surroundings import mlflow_settings, quiet_thread

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


@contextmanager
def asking(store: TrackingStore) -> Iterator[MlflowClient]:
    """Have a client of a store; raises TrackingError for whatever the store answers amiss."""
    with mlflow_settings():
        import mlflow.tracking
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        with quiet_thread():
            try:
                yield mlflow.tracking.MlflowClient(store.uri, store.uri)
            except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
                raise TrackingError(f"MLflow at {store.shown}: {store.explain(error)}") from None


def is_there(ask: Callable[[], object]) -> bool:
    """Tell whether a store has what is asked for; other errors are raised."""
    from mlflow.exceptions import MlflowException

    try:
        ask()
    except MlflowException as error:
        if error.error_code in _NOT_THERE:
            return False
        raise
    return True
