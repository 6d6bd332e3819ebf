"""All kinds of interactions: a new kind is one file and its name here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from mmts.interactions.attention import AttentionConfig, AttentionInteraction
from mmts.interactions.base import Interaction, NodeSpec
from mmts.interactions.bottleneck import BottleneckConfig, BottleneckInteraction
from mmts.interactions.film import FilmConfig, FilmInteraction
from mmts.interactions.joint import JointConfig, JointInteraction
from mmts.interactions.residual import ResidualConfig, ResidualInteraction
from mmts.interactions.weighted import WeightedConfig, WeightedInteraction

InteractionConfig = Annotated[
    ResidualConfig | FilmConfig | WeightedConfig | AttentionConfig | JointConfig | BottleneckConfig,
    Field(discriminator="kind"),
]

_MODULES: dict[type[InteractionConfig], type[Interaction]] = {
    ResidualConfig: ResidualInteraction,
    FilmConfig: FilmInteraction,
    WeightedConfig: WeightedInteraction,
    AttentionConfig: AttentionInteraction,
    JointConfig: JointInteraction,
    BottleneckConfig: BottleneckInteraction,
}


def list_kinds() -> tuple[str, ...]:
    """Return the name of every kind."""
    return tuple(config.model_fields["kind"].default for config in _MODULES)


def takes_several_sources(config: InteractionConfig) -> bool:
    """Return whether one edge of this kind may read more than one node."""
    return _MODULES[type(config)].takes_several


def build_interaction(
    config: InteractionConfig, target: NodeSpec, sources: Sequence[NodeSpec], time_unit: float
) -> Interaction:
    """Build the module of one edge; time_unit: seconds per forecast step."""
    return _MODULES[type(config)](config, target, sources, time_unit)
