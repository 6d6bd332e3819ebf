"""Settings of the experiment tracking."""

from __future__ import annotations

from pydantic import Field, field_validator

from mmts.config_base import Config
from mmts.tracking.secrets import holds_secret


class TrackingConfig(Config):
    """Where MLflow keeps the runs."""

    enabled: bool = Field(True, description="Whether runs are tracked in MLflow at all.")
    experiment: str | None = Field(
        None, min_length=1, description="Experiment in MLflow; by default the name of the config."
    )
    uri: str | None = Field(
        None,
        min_length=1,
        description="Tracking server or store; by default a SQLite file beside the run folders.",
    )
    tags: dict[str, str] = Field(default_factory=dict, description="Tags to find the run by.")

    @field_validator("uri")
    @classmethod
    def _check_uri(cls, uri: str | None) -> str | None:
        if uri is not None and holds_secret(uri):
            raise ValueError(
                "'uri' holds a user, a password or a token, which would be written into every "
                "checkpoint; give a server MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD "
                "in the environment, and a database its own password file"
            )
        return uri
