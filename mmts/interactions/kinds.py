"""All kinds of interactions: a new kind is one file and its names here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar

from pydantic import Field

from mmts.interactions.attention import AttentionConfig, AttentionInteraction
from mmts.interactions.base import Interaction, InteractionSettings, NodeSpec
from mmts.interactions.bottleneck import BottleneckConfig, BottleneckInteraction
from mmts.interactions.film import FilmConfig, FilmInteraction
from mmts.interactions.joint import JointConfig, JointInteraction
from mmts.interactions.residual import ResidualConfig, ResidualInteraction
from mmts.interactions.weighted import WeightedConfig, WeightedInteraction
from mmts.kinds import Kinds

INTERACTIONS: dict[type[InteractionSettings], type[Interaction]] = {
    ResidualConfig: ResidualInteraction,
    FilmConfig: FilmInteraction,
    WeightedConfig: WeightedInteraction,
    AttentionConfig: AttentionInteraction,
    JointConfig: JointInteraction,
    BottleneckConfig: BottleneckInteraction,
}

INTERACTION_KINDS: Kinds[InteractionSettings, Interaction] = Kinds(
    "interaction", InteractionSettings, Interaction, INTERACTIONS
)

InteractionConfig = Annotated[
    ResidualConfig | FilmConfig | WeightedConfig | AttentionConfig | JointConfig | BottleneckConfig,
    Field(discriminator="kind"),
    INTERACTION_KINDS,
]
"""What may stand for an edge in a config: settings of a kind built in, or of an own kind."""

InteractionModule = TypeVar("InteractionModule", bound=Interaction)


def register_interaction(module: type[InteractionModule]) -> type[InteractionModule]:
    """Make a class a kind that configs and checkpoints may name, in this process.

    module: has its settings as `config_class`. Returned as it is, so that this may stand above
    the class, as a decorator. Raises KindError.
    """
    INTERACTION_KINDS.register(module)
    return module


def list_kinds() -> tuple[str, ...]:
    """Return the name of every kind that is built in."""
    return tuple(INTERACTION_KINDS.built_in)


def takes_several_sources(config: InteractionSettings) -> bool:
    """Return whether one edge of this kind may read more than one node."""
    return INTERACTION_KINDS.module_class(config.kind).takes_several


def build_interaction(
    config: InteractionSettings, target: NodeSpec, sources: Sequence[NodeSpec], time_unit: float
) -> Interaction:
    """Build the module of one edge; time_unit: seconds per forecast step."""
    module = INTERACTION_KINDS.module_class(config.kind)
    return module(config, target, sources, time_unit)
