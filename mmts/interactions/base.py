"""What every interaction shares: settings of an edge, and the switch on what it adds."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError
from torch import Tensor, nn

from mmts.config_base import Config, Duration
from mmts.interactions.alignment import Reach
from mmts.tokens import Tokens

_NODE = r"^[A-Za-z][A-Za-z0-9_]*\.(0|[1-9][0-9]*|out)$"


def _check_node(value: Any) -> str:
    if not isinstance(value, str) or re.fullmatch(_NODE, value) is None:
        raise PydanticCustomError(
            "node",
            "{value} is no node; write a stream and its layer, such as weather.0, weather.2 or "
            "weather.out",
            {"value": repr(value)},
        )
    return value


NodeName = Annotated[
    str, BeforeValidator(_check_node), WithJsonSchema({"type": "string", "pattern": _NODE})
]
"""A place in the model: stream and layer, such as `weather.2` or `weather.out`."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _unlisted(nodes: tuple[str, ...]) -> str | list[str]:
    return nodes[0] if len(nodes) == 1 else list(nodes)


class InteractionSettings(Config):
    """An edge from one or more nodes to one node; it adds to the input of that node's block.

    A kind is a subclass that says which: `kind: Literal["film"] = "film"`.
    """

    kind: str
    sources: Annotated[
        tuple[NodeName, ...], BeforeValidator(_listed), PlainSerializer(_unlisted)
    ] = Field(alias="from", min_length=1, description="Node or nodes that are read.")
    to: NodeName = Field(description="Node whose input is added to.")
    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*$",
        description="Name in logs and weights; derived from kind and nodes when not given.",
    )
    causal: bool = Field(
        True,
        description="Whether a token takes over this edge only what was available at its own time.",
    )
    max_lag: Duration | None = Field(
        None,
        description="How long before the end of a token a source token may have ended to be read; "
        "by default any time.",
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of training windows for which the edge is cut."
    )


class NodeSpec(NamedTuple):
    """What an edge must know about a node before it is built.

    ageless: whether its tokens stand in no time, as those of a static stream.
    """

    stream: str
    dim: int
    ageless: bool


class Interaction(nn.Module, ABC):
    """A module on an edge.

    At first it adds exactly zero: its last projection, and nothing else, starts at zero (if a
    gate started at zero too, neither would ever have a gradient).

    config_class: settings of the kind; only the user's own kinds must name it.
    takes_several: whether one edge may read more than one node.
    scale: () float, 1; zero switches the edge off without building anything anew.
    """

    config_class: ClassVar[type[InteractionSettings]]
    takes_several: ClassVar[bool] = False
    scale: Tensor

    def __init__(
        self,
        config: InteractionSettings,
        target: NodeSpec,
        sources: Sequence[NodeSpec],
        time_unit: float,
    ) -> None:
        """Build for one target and its sources; time_unit: seconds per forecast step."""
        super().__init__()
        assert len(sources) == 1 or self.takes_several
        lag = config.max_lag
        self.reach = Reach(config.causal, None if lag is None else lag.total_seconds())
        self.dropout = config.dropout
        self.register_buffer("scale", torch.ones(()), persistent=False)

    def forward(self, target: Tokens, sources: Sequence[Tokens]) -> Tensor:
        """Return what is added to the target, (batch, token, dim)."""
        added = self.contribute(target, sources) * self.scale
        if self.training and self.dropout > 0:
            kept = torch.rand(len(added), 1, 1, device=added.device) >= self.dropout
            added = added * kept
        return added

    @abstractmethod
    def contribute(self, target: Tokens, sources: Sequence[Tokens]) -> Tensor:
        """Compute the contribution, (batch, token, dim); zero where no source token is seen."""

    def shares(self, target: Tokens, sources: Sequence[Tokens]) -> tuple[Tensor, ...]:
        """Tell where each target token reads; a kind of the user's own may leave it untold.

        Returns per source (batch, token, source token): the weight of each source token before
        any projection. Over all sources they sum to at most one; what is missing went to nothing.
        They show what is mixed, not how much it matters: the projections behind can undo any of
        them. Read the strength of the edge for that. Nothing, where the kind does not tell.
        """
        return ()


def modulate(values: Tensor, scale_and_shift: Tensor) -> Tensor:
    """Return what scaling and shifting adds to tokens, (batch, token, dim).

    values: (batch, token, dim). scale_and_shift: (batch, token, 2 dim); zero adds zero.
    """
    scale, shift = scale_and_shift.chunk(2, dim=-1)
    return scale * normalise(values) + shift


def normalise(values: Tensor) -> Tensor:
    """Bring every token to mean zero and variance one, without weights."""
    return nn.functional.layer_norm(values, values.shape[-1:])
