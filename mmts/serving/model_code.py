"""The file that MLflow keeps with a registered model and runs to load it; nothing imports it."""

from mlflow.models import set_model

from mmts.serving.pyfunc import ForecastingModel

set_model(ForecastingModel())
