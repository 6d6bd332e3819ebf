"""What a checkpoint says of itself, without its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmts.errors import RunError
from mmts.files import JSON_FAULTS

_LENGTH_BYTES = 8
_LONGEST = 100_000_000
"""Bytes of the longest header that safetensors allows."""


def read_description(path: Path) -> dict[str, Any]:
    """Return the JSON in a checkpoint, unchecked, in the form of the version that wrote it.

    Only the beginning of the file is read, as https://github.com/huggingface/safetensors lays it
    out: the length of the header in 8 bytes, the header as JSON, and then the tensors.
    Raises RunError for what is no checkpoint.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if length > _LONGEST:
                raise ValueError("its header is too long")
            header = file.read(length)
        if len(header) < length or not length:
            raise ValueError("it ends too early")
        description = json.loads(json.loads(header)["__metadata__"]["mmts"])
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}.") from None
    except JSON_FAULTS as error:
        raise RunError(
            f"{path}: not a checkpoint of mmts, or a damaged one ({error}). Train again, or take "
            "it away."
        ) from None
    if not isinstance(description, dict):
        raise RunError(f"{path}: the description of the model is damaged. Train again.")
    return description
