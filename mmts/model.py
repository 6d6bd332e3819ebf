"""The model: one encoder per stream, interactions between their layers, and a head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from mmts.config_base import Config
from mmts.data.batch import Batch, StreamWindow
from mmts.data.config import StreamName
from mmts.data.schema import DataSchema
from mmts.encoders.base import Encoder
from mmts.encoders.kinds import EncoderConfig, build_encoder
from mmts.heads.decoder import HorizonDecoder
from mmts.heads.kinds import HeadConfig, build_head
from mmts.heads.quantile import QuantileHeadConfig
from mmts.interactions.base import Interaction, InteractionSettings, NodeSpec
from mmts.interactions.graph import OUT, Node, Schedule, build_schedule, name_edges
from mmts.interactions.kinds import build_interaction
from mmts.interactions.presets import DEFAULT_INTERACTIONS, InteractionEntry, expand
from mmts.layers.initialisation import seeded
from mmts.layers.window_norm import measure_scale, normalise_window, unit_scale
from mmts.linear.path import LinearConfig, LinearPath
from mmts.linear.share import LinearShare, NetworkShare
from mmts.tokens import Tokens

MAX_LAYERS = 4096
"""Layers of all encoders together, that a slip of the pen builds no model without end."""

EdgeObserver = Callable[[str, Tensor, Tokens, Sequence[Tokens]], None]
"""Called with the name of an edge, what it adds, (batch, token, dim), target and sources."""


class ModelConfig(Config):
    """Encoders, interactions and head."""

    encoders: dict[StreamName, EncoderConfig] = Field(
        default_factory=dict, description="Per stream; a stream not named gets what suits it."
    )
    interactions: tuple[InteractionEntry, ...] = Field(
        DEFAULT_INTERACTIONS, description="Edges between layers, and presets for several."
    )
    head: HeadConfig = QuantileHeadConfig()
    linear: LinearConfig | None = Field(
        LinearConfig(),
        description="The linear path, which the other parts add to; null for none.",
    )
    window_normalization: bool = Field(
        True, description="Whether the target is standardised by each window's own mean and spread."
    )
    stream_dropout: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of training windows for which a stream other than the target's is "
        "left out, so that the model can do without it.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        count = sum(self.num_layers().values())
        if count > MAX_LAYERS:
            raise ValueError(f"the encoders have {count} layers together; {MAX_LAYERS} are allowed")
        return self

    def num_layers(self) -> dict[str, int]:
        """Return the layers of each stream's encoder."""
        return {stream: encoder.num_layers for stream, encoder in self.encoders.items()}

    def edges(self, target_stream: str) -> dict[str, InteractionSettings]:
        """Return every edge by its name, presets expanded."""
        return name_edges(expand(self.interactions, self.num_layers(), target_stream))

    def schedule(self, target_stream: str, future_streams: list[str]) -> Schedule:
        """Check the graph and put it in order; raises ConfigError."""
        reads = [Node(stream, OUT) for stream in dict.fromkeys([target_stream, *future_streams])]
        reads += [Node.parse(node) for node in self.head.reads]
        return build_schedule(self.num_layers(), self.edges(target_stream), reads)


class MultimodalForecaster(nn.Module):
    """Forecasts the target from windows of all streams.

    Works on scaled values throughout: what comes in and goes out is on the scale of the training
    split.
    """

    def __init__(
        self,
        schema: DataSchema,
        config: ModelConfig,
        vocabulary_sizes: Mapping[str, dict[str, int]],
        seed: int,
    ) -> None:
        """Build every part that has a path to the head.

        vocabulary_sizes: per stream, the largest code of each category column.
        Each part draws its weights from a generator of its own, so that an edge more or less
        leaves all others as they are. Raises ConfigError for a fault in the graph.
        """
        super().__init__()
        self.schema = schema
        self.stream_dropout = config.stream_dropout
        self.window_normalization = config.window_normalization
        self.target_channels = schema.target.channels("target")
        self.future_streams = [name for name, s in schema.streams.items() if s.has_future]
        self.schedule = config.schedule(schema.target_stream, self.future_streams)
        time_unit = schema.frequency / 1e6
        edges = config.edges(schema.target_stream)
        self.before = {node: self._before(node) for node in self.schedule.nodes}
        self.sources = {
            name: tuple(Node.parse(source) for source in edges[name].sources)
            for names in self.schedule.edges.values()
            for name in names
        }

        self.encoders = nn.ModuleDict()
        for stream in schema.streams:
            depth = self.schedule.depth(stream)
            if depth is not None:
                with seeded(seed, f"encoder {stream}"):
                    encoder = build_encoder(
                        config.encoders[stream],
                        schema.streams[stream],
                        vocabulary_sizes[stream],
                        time_unit,
                    )
                encoder.keep(depth, with_norm=Node(stream, OUT) in self.schedule.nodes)
                self.encoders[module_key(stream)] = encoder

        def spec(node: Node) -> NodeSpec:
            dims = config.encoders[node.stream].node_dims()
            dim = dims[-1] if node.layer == OUT else dims[int(node.layer)]
            return NodeSpec(node.stream, dim, schema.streams[node.stream].is_static)

        def input_spec(node: Node) -> NodeSpec:
            # An edge adds to the input of a block, which is the value of the node before it.
            return spec(self.before[node] or node)

        self.interactions = nn.ModuleDict()
        for node, names in self.schedule.edges.items():
            for name in names:
                with seeded(seed, f"edge {name}"):
                    self.interactions[module_key(name)] = build_interaction(
                        edges[name],
                        target=input_spec(node),
                        sources=[spec(source) for source in self.sources[name]],
                        time_unit=time_unit,
                    )

        head = config.head
        read = [Node(schema.target_stream, OUT), *(Node.parse(node) for node in head.reads)]
        self.past_reads = list(dict.fromkeys(read))
        with seeded(seed, "head"):
            self.decoder = HorizonDecoder(
                horizon=schema.horizon,
                dim=head.dim,
                past={module_key(str(node)): spec(node) for node in self.past_reads},
                future={module_key(name): spec(Node(name, OUT)) for name in self.future_streams},
                num_heads=head.num_heads,
                dropout=head.dropout,
                time_unit=time_unit,
                max_queries=head.max_queries,
            )
            self.head = build_head(head, len(self.target_channels))
        self.linear: LinearPath | None = None
        if config.linear is not None:
            self.linear = LinearPath(schema, vocabulary_sizes, config.linear, len(self.outputs))
            self.linear_share = LinearShare(head.dim, len(self.target_channels))
            self.network_share = NetworkShare(self.outputs)
            # So that training begins with what the linear path says.
            self.head.begin_at_zero()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the forecast columns: `mean`, or quantile levels."""
        return self.head.outputs

    def forward(self, batch: Batch, observer: EdgeObserver | None = None) -> Tensor:
        """Return forecasts (batch, horizon, target, output).

        observer: told of everything that an edge adds.
        """
        linear, whole = self.forecast_in_parts(batch, observer)
        if linear is None or self.training:
            return whole
        forecast: Tensor = self.network_share(linear, whole)
        return forecast

    def forecast_in_parts(
        self, batch: Batch, observer: EdgeObserver | None = None
    ) -> tuple[Tensor | None, Tensor]:
        """Return what the linear path says alone, where there is one, and what all parts say.

        Each (batch, horizon, target, output).
        """
        streams = batch.streams
        if self.training and self.stream_dropout > 0:
            streams = self._drop_streams(streams)
        linear = None if self.linear is None else self.linear(streams)
        own = streams[self.schema.target_stream]
        if self.window_normalization:
            scale = measure_scale(own, self.target_channels)
            own = normalise_window(own, self.target_channels, scale)
            streams = {**streams, self.schema.target_stream: own}
        else:
            scale = unit_scale(len(batch), len(self.target_channels), own.values.device)
        values = self._run(streams, observer)
        decoded = self.decoder(
            past={module_key(str(node)): values[node] for node in self.past_reads},
            future={module_key(name): values[Node(name, OUT)] for name in self.future_streams},
            step_edges=batch.step_edges,
        )
        said: Tensor = self.head(decoded)
        if linear is None:
            return None, scale.restore(said)
        return linear, self.linear_share(decoded, linear, scale) + scale.widen(said)

    def switch_edge(self, name: str, scale: float) -> None:
        """Multiply what an edge adds; 0 switches it off, 1 on."""
        self.interaction(name).scale.fill_(scale)

    def interaction(self, name: str) -> Interaction:
        """Return the module of an edge."""
        module = self.interactions[module_key(name)]
        assert isinstance(module, Interaction)
        return module

    def edge_strengths(self, batch: Batch) -> dict[str, float]:
        """Measure how strongly each edge acts: norm of what it adds over norm of what it meets.

        Over all target tokens that hold an observed value.
        """
        strengths: dict[str, float] = {}

        def measure(name: str, added: Tensor, target: Tokens, _: Sequence[Tokens]) -> None:
            observed = target.grid.observed
            base = target.values[observed].norm()
            strengths[name] = float(added[observed].norm() / base.clamp(min=1e-12))

        with torch.no_grad():
            self(batch, measure)
        return strengths

    def _run(
        self, streams: Mapping[str, StreamWindow], observer: EdgeObserver | None
    ) -> dict[Node, Tokens]:
        values: dict[Node, Tokens] = {}
        for node in self.schedule.nodes:
            encoder = self.encoders[module_key(node.stream)]
            assert isinstance(encoder, Encoder)
            before = self.before[node]
            base = encoder.embed(streams[node.stream]) if before is None else values[before]
            edited = base
            for name in self.schedule.edges.get(node, ()):
                # Every edge reads the same un-edited input, so their order does not matter.
                sources = [values[source] for source in self.sources[name]]
                added = self.interaction(name)(base, sources)
                edited = Tokens(edited.values + added, edited.grid)
                if observer is not None:
                    observer(name, added, base, sources)
            if before is None:
                values[node] = edited
            elif node.layer == OUT:
                values[node] = encoder.run_norm(edited)
            else:
                values[node] = encoder.run_layer(int(node.layer), edited)
        return values

    def _before(self, node: Node) -> Node | None:
        """Return the node whose value enters this node's block; None for an embedding."""
        if node.layer == "0":
            return None
        if node.layer == OUT:
            return Node(node.stream, str(self.schedule.depth(node.stream)))
        return Node(node.stream, str(int(node.layer) - 1))

    def _drop_streams(self, streams: Mapping[str, StreamWindow]) -> dict[str, StreamWindow]:
        """Leave out whole streams per window, never that of the target (cf. arXiv 1501.00102)."""
        names = list(streams)
        values = streams[self.schema.target_stream].values
        kept = torch.rand(len(names), len(values), 1, 1, device=values.device)
        kept = kept >= self.stream_dropout
        dropped = {}
        for name, keep in zip(names, kept, strict=True):
            window = streams[name]
            if name != self.schema.target_stream:
                window = replace(
                    window,
                    values=torch.where(keep, window.values, 0.0),
                    observed=window.observed & keep,
                )
            dropped[name] = window
        return dropped


def module_key(name: str) -> str:
    """Return a name as PyTorch takes it: without dots, and none of a module's own words."""
    return f"[{name.replace('.', ':')}]"
