"""All kinds of interactions: a new kind is one file and its name here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, assert_never

from pydantic import Field

from mmts.interactions.attention import AttentionConfig, AttentionInteraction
from mmts.interactions.base import Interaction, NodeSpec
from mmts.interactions.residual import ResidualConfig, ResidualInteraction
from mmts.interactions.weighted import WeightedConfig, WeightedInteraction

InteractionConfig = Annotated[
    ResidualConfig | WeightedConfig | AttentionConfig, Field(discriminator="kind")
]

TAKES_SEVERAL_SOURCES = frozenset({"weighted"})


def build_interaction(
    config: InteractionConfig,
    target: NodeSpec,
    sources: Sequence[NodeSpec],
    same_stream: bool,
    time_unit: float,
) -> Interaction:
    """Build the module of one edge; time_unit: seconds per forecast step."""
    match config:
        case ResidualConfig():
            return ResidualInteraction(config, target, sources[0], same_stream, time_unit)
        case WeightedConfig():
            return WeightedInteraction(config, target, sources, time_unit)
        case AttentionConfig():
            return AttentionInteraction(config, target, sources[0], time_unit)
        case _:
            assert_never(config)
