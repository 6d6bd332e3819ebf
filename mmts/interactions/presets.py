"""Well-known ways to connect streams, written as plain edges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from mmts.config_base import Config
from mmts.errors import ConfigError, KindError
from mmts.interactions.base import InteractionSettings
from mmts.interactions.kinds import INTERACTION_KINDS, InteractionConfig

_JOINING = frozenset({"weighted", "bottleneck"})
"""Kinds whose meaning is to bring several sources together; all others get an edge for each."""


def _check_kind(kind: str) -> str:
    try:
        settings = INTERACTION_KINDS.settings_class(kind)
    except KindError as error:
        raise PydanticCustomError("kind", "{reason}", {"reason": str(error)}) from error
    required = {name for name, field in settings.model_fields.items() if field.is_required()}
    if own := sorted(required - {"sources", "to"}):
        raise ValueError(
            f"kind {kind!r} cannot do without {', '.join(own)}, which a preset does not give; "
            "write its edges one by one"
        )
    return kind


class PresetConfig(Config):
    """A set of edges from every other stream to the target stream.

    `none`: no edge. `last`: output to output, late fusion. `ladder`: layer l to layer l + 1.
    `lowlevel`: embeddings into every layer. `dense`: every earlier layer into every layer.
    `bottleneck`: layer l to layer l + 1 through a few shared tokens, from a third of the depth on.
    """

    preset: Literal["none", "last", "ladder", "lowlevel", "dense", "bottleneck"]
    kind: Annotated[str, AfterValidator(_check_kind)] = Field(
        "attention",
        description="Kind of the edges; weighted and bottleneck join all streams in one edge.",
    )

    @model_validator(mode="before")
    @classmethod
    def _name_kind(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("preset") == "bottleneck":
            return {"kind": "bottleneck", **value}
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.preset == "bottleneck" and self.kind != "bottleneck":
            raise ValueError("preset 'bottleneck' has edges of kind bottleneck only")
        return self


def _tag_of(value: Any) -> str:
    is_preset = isinstance(value, PresetConfig) or (isinstance(value, dict) and "preset" in value)
    return "(preset)" if is_preset else "(edge)"


InteractionEntry = Annotated[
    Annotated[PresetConfig, Tag("(preset)")] | Annotated[InteractionConfig, Tag("(edge)")],
    Discriminator(_tag_of),
]
"""What may stand in the list of interactions: an edge, or a preset for several.

The tags are in parentheses, as keys of a config never are.
"""

MAX_SOURCES = 20_000
"""Nodes that all edges of a model read together; `dense` over many layers gives millions."""

DEFAULT_INTERACTIONS = (PresetConfig(preset="ladder"),)


def expand(
    entries: Sequence[PresetConfig | InteractionSettings],
    num_layers: Mapping[str, int],
    target_stream: str,
) -> tuple[InteractionSettings, ...]:
    """Replace every preset by its edges.

    num_layers: layers of each stream's encoder.
    Raises ConfigError where a preset that should connect streams connects none, and where there
    are more edges than any model can be built with.
    """
    edges: list[InteractionSettings] = []
    num_sources = 0
    for entry in entries:
        if isinstance(entry, PresetConfig):
            num_before = len(edges)
            for sources, to in _pairs(entry.preset, num_layers, target_stream):
                num_sources += len(sources)
                _require_few(num_sources)
                edges += _edges(entry.kind, sources, to)
            is_empty = len(edges) == num_before
            if is_empty and entry.preset != "none" and len(num_layers) > 1:
                depth = num_layers[target_stream]
                raise ConfigError(
                    f"model.interactions: preset {entry.preset!r} gives no edge: of {depth} layers "
                    f"of {target_stream} it reaches those after {depth // 3}, each from the layer "
                    "before it of another stream, and none is so deep. Give another stream more "
                    "layers, or write an edge of your own."
                )
        else:
            num_sources += len(entry.sources)
            _require_few(num_sources)
            edges.append(entry)
    return tuple(edges)


def _require_few(num_sources: int) -> None:
    if num_sources > MAX_SOURCES:
        raise ConfigError(
            f"model.interactions: the edges would read more than {MAX_SOURCES:,} nodes. Take a "
            "sparser preset than 'dense', or give the encoders fewer layers."
        )


def _pairs(
    preset: str, num_layers: Mapping[str, int], target_stream: str
) -> Iterator[tuple[list[str], str]]:
    """Yield each node of the target stream that is added to, after the nodes that it reads."""
    others = {name: depth for name, depth in num_layers.items() if name != target_stream}
    depth = num_layers[target_stream]
    if not others or preset == "none":
        return
    if preset == "last":
        yield [f"{stream}.out" for stream in others], f"{target_stream}.out"
        return
    for layer in range(1, depth + 1):
        if sources := _read_below(preset, layer, others, depth):
            yield sources, f"{target_stream}.{layer}"


def _read_below(preset: str, layer: int, others: Mapping[str, int], depth: int) -> list[str]:
    """Return the nodes of other streams that a layer of the target stream reads."""
    match preset:
        case "lowlevel":
            return [f"{stream}.0" for stream in others]
        case "dense":
            return [
                f"{stream}.{below}"
                for stream, last in others.items()
                for below in range(min(layer - 1, last) + 1)
            ]
        case "bottleneck" if layer <= depth // 3:
            return []
        case _:
            return [f"{stream}.{layer - 1}" for stream, last in others.items() if layer <= last + 1]


def _edges(kind: str, sources: list[str], to: str) -> list[InteractionSettings]:
    edge = INTERACTION_KINDS.settings_class(kind)
    if kind in _JOINING:
        return [edge(kind=kind, sources=tuple(sources), to=to)]
    return [edge(kind=kind, sources=(source,), to=to) for source in sources]
