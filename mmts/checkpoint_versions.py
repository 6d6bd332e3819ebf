"""Reading what older versions of the checkpoint held, so that a checkpoint loads for ever."""

from __future__ import annotations

from typing import Any


def upgrade(settings: dict[str, Any]) -> None:
    """Bring the description in an older checkpoint to the form of the newest, in place.

    What does not have the form of its version is left for the checks that follow.
    """
    if settings.get("format_version") == 1:
        _upgrade_to_2(settings)


def _upgrade_to_2(settings: dict[str, Any]) -> None:
    """Clocks were a period in microseconds, and only UTC had a name."""
    schema = settings.get("data_schema")
    if not isinstance(schema, dict) or not isinstance(schema.get("streams"), dict):
        return
    schema.pop("frequency", None)
    for stream in schema["streams"].values():
        if isinstance(stream, dict):
            period = stream.pop("period", 0)
            stream.pop("cover", None)
            stream["clock"] = {"every": period} if period else None
            stream["has_items"] = stream.get("item") is not None
    settings["format_version"] = 2
