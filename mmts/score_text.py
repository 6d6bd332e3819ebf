"""How a score is written, in tables and in sentences."""

from __future__ import annotations

import math


def say_score(score: float | None) -> str:
    """Write a score with the four digits that count; a dash where there is none."""
    # All zeros stay, so that scores below each other have as many digits; no bare point is left.
    return "-" if score is None or math.isnan(score) else f"{score:#.4g}".rstrip(".")
