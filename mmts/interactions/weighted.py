"""Several layers' outputs, combined by learned weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mmts.interactions.as_of import AsOf
from mmts.interactions.base import Interaction, InteractionSettings, NodeSpec, normalise
from mmts.tokens import Tokens

_INITIAL_NONE = -2.0
"""Before softmax: beside one source, 'none' begins with an eighth of the weight."""


class WeightedConfig(InteractionSettings):
    """Adds a weighted sum of projected nodes; the weights, with one for none, sum to one."""

    kind: Literal["weighted"] = "weighted"
    weights: Literal["static", "token"] = Field(
        "static",
        description="static learns one set of weights, token reads them from each target token.",
    )


class WeightedInteraction(Interaction):
    """Softmax weights over the sources and a 'none' option.

    A source that is absent at a token leaves the softmax there, so that the others share its
    weight; where all are absent everything goes to 'none', which adds zero.
    Source: learned sums over layers, arXiv 1802.05365; the gate per token follows mixtures of
    experts, arXiv 1701.06538.
    """

    takes_several = True

    def __init__(
        self,
        config: WeightedConfig,
        target: NodeSpec,
        sources: Sequence[NodeSpec],
        time_unit: float,
    ) -> None:
        """Build for one target and any number of sources; time_unit: seconds per forecast step."""
        super().__init__(config, target, sources, time_unit)
        readers = [AsOf(target, source, self.reach, time_unit) for source in sources]
        self.readers = nn.ModuleList(readers)
        # Straight to the target: a second projection behind them would learn at half the speed,
        # as each of the two waits for the other.
        projections = [nn.Linear(reader.dim, target.dim, bias=False) for reader in readers]
        for projection in projections:
            nn.init.zeros_(projection.weight)
        self.projections = nn.ModuleList(projections)
        logits = torch.zeros(len(sources) + 1)
        logits[-1] = _INITIAL_NONE
        self.logits = nn.Parameter(logits)
        self.gate: nn.Linear | None = None
        if config.weights == "token":
            self.gate = nn.Linear(target.dim, len(sources) + 1, bias=False)
        # Weights that differ from token to token at random, or soon, hide a source from some tokens
        # before it is known what it is worth there: one training in three stayed on its plateau.
        self.gate_scale = target.dim**-0.5

    def contribute(self, target: Tokens, sources: Sequence[Tokens]) -> Tensor:
        """Return the weighted sum as of each target token."""
        read = [
            reader(target.grid, source)
            for reader, source in zip(self.readers, sources, strict=True)
        ]
        projected = torch.stack(
            [project(values) for project, (values, _) in zip(self.projections, read, strict=True)],
            dim=-1,
        )
        weights = self._weigh(target, [present for _, present in read])
        added: Tensor = (projected * weights[:, :, None, :-1].to(projected.dtype)).sum(dim=-1)
        return added

    def shares(self, target: Tokens, sources: Sequence[Tokens]) -> tuple[Tensor, ...]:
        """Return each source's weight, spread over the tokens that are read of it."""
        read: list[Tensor] = []
        present: list[Tensor] = []
        for reader, source in zip(self.readers, sources, strict=True):
            assert isinstance(reader, AsOf)
            read.append(reader.shares(target.grid, source))
            # Not where a share is left: what has faded to nothing still says how old it is.
            present.append(reader.sees(target.grid, source))
        weights = self._weigh(target, present)
        return tuple(share * weights[..., [place]] for place, share in enumerate(read))

    def _weigh(self, target: Tokens, present: Sequence[Tensor]) -> Tensor:
        """Return the weights, (batch, token, source + 1) float32, 'none' last."""
        logits = self.logits.float()
        if self.gate is not None:
            logits = logits + self.gate_scale * self.gate(normalise(target.values)).float()
        offered = torch.stack([*present, torch.ones_like(present[0])], dim=-1)
        weights: Tensor = logits.masked_fill(~offered, -torch.inf).softmax(dim=-1)
        return weights
