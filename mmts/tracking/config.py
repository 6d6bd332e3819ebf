"""Settings of the experiment tracking."""

from __future__ import annotations

from pydantic import Field

from mmts.config_base import Config


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
