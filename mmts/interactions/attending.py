"""What kinds that look at tokens one by one have in common in their settings."""

from __future__ import annotations

from pydantic import Field

from mmts.interactions.base import InteractionSettings


class AttendingSettings(InteractionSettings):
    """Settings of attention on an edge."""

    num_heads: int = Field(4, gt=0, description="Attention heads, at most.")
    fades: bool = Field(
        True, description="Whether all heads but the last look at what is near in time first."
    )
    from_nearest: bool = Field(
        True,
        description="Whether what is near is told from the nearest token that may be read; not so "
        "in checkpoints before format 4.",
    )
    modulates: bool = Field(
        True,
        description="Whether what is taken scales the target's channels beside adding to them.",
    )
