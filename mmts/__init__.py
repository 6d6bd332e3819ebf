"""Forecasting models on several CSV streams at once, each on its own clock."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmts.encoders.kinds import register_encoder
    from mmts.interactions.kinds import register_interaction

__version__ = "0.1.0"
__all__ = ["__version__", "register_encoder", "register_interaction"]

_HOMES = {
    "register_encoder": "mmts.encoders.kinds",
    "register_interaction": "mmts.interactions.kinds",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `mmts --help` must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
