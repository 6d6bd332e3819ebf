"""Well-known ways to connect streams, written as plain edges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from mmts.config_base import Config
from mmts.interactions.attention import AttentionConfig
from mmts.interactions.kinds import InteractionConfig
from mmts.interactions.residual import ResidualConfig
from mmts.interactions.weighted import WeightedConfig


class PresetConfig(Config):
    """A set of edges from every other stream to the target stream.

    `none`: no edge. `last`: output to output, late fusion. `ladder`: layer l to layer l + 1.
    `lowlevel`: embeddings into every layer.
    """

    preset: Literal["none", "last", "ladder", "lowlevel"]
    kind: Literal["residual", "weighted", "attention"] = Field(
        "attention", description="Kind of the edges; weighted joins all streams in one edge."
    )


def _tag_of(value: Any) -> str | None:
    if isinstance(value, PresetConfig) or (isinstance(value, dict) and "preset" in value):
        return "preset"
    found = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return found if isinstance(found, str) else None


InteractionEntry = Annotated[
    Annotated[PresetConfig, Tag("preset")]
    | Annotated[ResidualConfig, Tag("residual")]
    | Annotated[WeightedConfig, Tag("weighted")]
    | Annotated[AttentionConfig, Tag("attention")],
    Discriminator(_tag_of),
]
"""What may stand in the list of interactions: an edge, or a preset for several."""

DEFAULT_INTERACTIONS = (PresetConfig(preset="ladder"),)


def expand(
    entries: Sequence[PresetConfig | InteractionConfig],
    num_layers: Mapping[str, int],
    target_stream: str,
) -> tuple[InteractionConfig, ...]:
    """Replace every preset by its edges.

    num_layers: layers of each stream's encoder.
    """
    edges: list[InteractionConfig] = []
    for entry in entries:
        if isinstance(entry, PresetConfig):
            for sources, to in _pairs(entry.preset, num_layers, target_stream):
                edges += _edges(entry.kind, sources, to)
        else:
            edges.append(entry)
    return tuple(edges)


def _pairs(
    preset: str, num_layers: Mapping[str, int], target_stream: str
) -> list[tuple[list[str], str]]:
    """Return, per node of the target stream that is added to, the nodes that are read."""
    others = [stream for stream in num_layers if stream != target_stream]
    depth = num_layers[target_stream]
    if not others or preset == "none":
        return []
    if preset == "last":
        return [([f"{stream}.out" for stream in others], f"{target_stream}.out")]
    if preset == "lowlevel":
        sources = [f"{stream}.0" for stream in others]
        return [(sources, f"{target_stream}.{layer}") for layer in range(1, depth + 1)]
    pairs = []
    for layer in range(depth):
        sources = [f"{stream}.{layer}" for stream in others if layer <= num_layers[stream]]
        if sources:
            pairs.append((sources, f"{target_stream}.{layer + 1}"))
    return pairs


def _edges(kind: str, sources: list[str], to: str) -> list[InteractionConfig]:
    match kind:
        case "weighted":
            return [WeightedConfig(sources=tuple(sources), to=to)]
        case "residual":
            return [ResidualConfig(sources=(source,), to=to) for source in sources]
        case _:
            return [AttentionConfig(sources=(source,), to=to) for source in sources]
