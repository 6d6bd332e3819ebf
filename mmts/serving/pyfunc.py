"""A trained model as a python_function of MLflow."""

from __future__ import annotations

from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel

from mmts.errors import DataError, MmtsError
from mmts.forecasting import Forecaster
from mmts.serving.request import read_streams

CHECKPOINT = "checkpoint"
"""The name of the checkpoint among the artifacts of the model."""

STREAMS = "streams"
"""The one input of the model."""


class ForecastingModel(PythonModel):
    """Answers with the forecast that `mmts forecast` writes.

    It is never pickled: MLflow keeps the file that makes it, and the checkpoint beside that.
    """

    def load_context(self, context: Any) -> None:
        """Read the checkpoint; raises CheckpointError when it is none."""
        self._forecaster = Forecaster.from_checkpoint(context.artifacts[CHECKPOINT])

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Forecast every item of one request.

        model_input: what MLflow makes of {"streams": {...}}: one row, whose cell under `streams`
            holds for each stream what `read_streams` takes; a stream left out counts as absent.
        params: `origin` and `until` as in `Forecaster.predict`, `calibrated` (true by default).
        Returns the long table. Raises MlflowException, which the server answers with status 400,
        for every fault in the request.
        """
        asked = params or {}
        forecaster = self._forecaster
        if asked.get("calibrated") is False:
            forecaster = forecaster.without_calibration()
        try:
            streams = read_streams(_only_request(model_input))
            origin, until = asked.get("origin"), asked.get("until")
            # As the signature says, whatever types a request has.
            return forecaster.predict(streams, origin, until, as_text=True)
        except MmtsError as error:
            said = f"{type(error).__name__}: {error}"
            raise MlflowException.invalid_parameter_value(said) from None


def _only_request(model_input: pd.DataFrame) -> dict[str, Any]:
    if len(model_input) != 1:
        raise DataError(
            f"{len(model_input)} requests in one. Send one object of streams; it may hold any "
            "number of items."
        )
    streams: dict[str, Any] = model_input[STREAMS].iloc[0]
    return streams
