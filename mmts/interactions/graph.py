"""Which node runs when: the graph of streams, layers and edges, checked and put in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import NamedTuple

from mmts.errors import ConfigError, nearest, raise_all
from mmts.interactions.base import InteractionSettings
from mmts.interactions.kinds import takes_several_sources

OUT = "out"


class Node(NamedTuple):
    """One place in the model: a stream and `0`, `1`, ... or `out`."""

    stream: str
    layer: str

    @classmethod
    def parse(cls, text: str) -> Node:
        """Read `weather.2` or `weather.out`."""
        stream, _, layer = text.partition(".")
        return cls(stream, layer)

    def __str__(self) -> str:
        """Write the node as in the config."""
        return f"{self.stream}.{self.layer}"


@dataclass(frozen=True)
class Schedule:
    """What the model runs.

    nodes: every node with a path to the head, each after all that it needs.
    edges: per node the names of the edges into it, in a fixed order of summing.
    idle: nodes without a path to the head, which are neither built nor run.
    """

    nodes: tuple[Node, ...]
    edges: dict[Node, tuple[str, ...]]
    idle: tuple[Node, ...]

    def depth(self, stream: str) -> int | None:
        """Return the last layer of a stream that runs; None when the stream is idle."""
        own = (node.layer for node in self.nodes if node.stream == stream)
        return max((int(layer) for layer in own if layer != OUT), default=None)

    def idle_streams(self) -> list[str]:
        """Return the streams of which no node runs."""
        running = {node.stream for node in self.nodes}
        return sorted({node.stream for node in self.idle} - running)


def name_edges(edges: Sequence[InteractionSettings]) -> dict[str, InteractionSettings]:
    """Give every edge a unique name: its own, else one made of kind and nodes.

    Raises ConfigError when two edges claim one name.
    """
    claimed = [edge.name for edge in edges if edge.name is not None]
    raise_all(
        ConfigError,
        (
            f"model.interactions: {claimed.count(name)} edges are named {name!r}. "
            "Give each a name of its own."
            for name in sorted(set(claimed))
            if claimed.count(name) > 1
        ),
    )
    named: dict[str, InteractionSettings] = {}
    for edge in edges:
        base = edge.name or f"{edge.kind}_{'_'.join(edge.sources)}_to_{edge.to}"
        name, repeat = base, 2
        while edge.name is None and (name in named or name in claimed):
            name, repeat = f"{base}_{repeat}", repeat + 1
        named[name] = edge
    return named


def build_schedule(
    num_layers: Mapping[str, int],
    edges: Mapping[str, InteractionSettings],
    reads: Iterable[Node],
) -> Schedule:
    """Check the graph and order its nodes.

    num_layers: layers of each stream's encoder. edges: by name. reads: the nodes of the head.
    Raises ConfigError, naming the edge, for an unknown stream or layer, a wrong number of
    sources, an edge from a node that needs the edge's own result, and any other cycle.
    """
    reads = list(reads)
    problems = [
        f"model.head.reads: {fault}" for node in reads for fault in _unknown(node, num_layers)
    ]
    for name, edge in edges.items():
        problems += [f"{_place(name, edge)}: {fault}" for fault in _faults(edge, num_layers)]
    raise_all(ConfigError, problems)

    needs = _dependencies(num_layers, edges)
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise ConfigError(_describe_cycle(error.args[1], edges)) from None

    live: set[Node] = set()
    for node in reversed(order):
        if node in reads or node in live:
            live.add(node)
            live.update(needs[node])
    into: dict[Node, list[str]] = {}
    for name in sorted(edges):
        into.setdefault(Node.parse(edges[name].to), []).append(name)
    return Schedule(
        nodes=tuple(node for node in order if node in live),
        edges={node: tuple(names) for node, names in into.items() if node in live},
        idle=tuple(node for node in order if node not in live),
    )


def _place(name: str, edge: InteractionSettings) -> str:
    return f"model.interactions, edge {name!r} ({edge.kind}, to {edge.to})"


def _unknown(node: Node, num_layers: Mapping[str, int]) -> list[str]:
    if node.stream not in num_layers:
        return [f"there is no stream {node.stream!r}{nearest(node.stream, num_layers)}"]
    last = num_layers[node.stream]
    if node.layer != OUT and int(node.layer) > last:
        return [f"{node} does not exist; {node.stream} has nodes 0 to {last} and out."]
    return []


def _faults(edge: InteractionSettings, num_layers: Mapping[str, int]) -> list[str]:
    faults = []
    for text in (*edge.sources, edge.to):
        faults += _unknown(Node.parse(text), num_layers)
    if len(edge.sources) > 1 and not takes_several_sources(edge):
        faults.append(
            f"takes one source, not {len(edge.sources)}; write one edge for each, "
            "or use kind: weighted."
        )
    if len(set(edge.sources)) < len(edge.sources):
        faults.append("lists a source twice. Take one out.")
    return faults


def _dependencies(
    num_layers: Mapping[str, int], edges: Mapping[str, InteractionSettings]
) -> dict[Node, list[Node]]:
    """Return what each node needs: the node before it, and the sources of edges into it."""
    needs: dict[Node, list[Node]] = {}
    for stream, last in num_layers.items():
        chain = [Node(stream, str(layer)) for layer in range(last + 1)] + [Node(stream, OUT)]
        needs[chain[0]] = []
        for before, after in pairwise(chain):
            needs[after] = [before]
    for name in sorted(edges):
        edge = edges[name]
        needs[Node.parse(edge.to)] += [Node.parse(source) for source in edge.sources]
    return needs


def _describe_cycle(cycle: Sequence[Node], edges: Mapping[str, InteractionSettings]) -> str:
    # Each node of the cycle is needed by the next one.
    steps = set(pairwise(cycle))
    guilty = [
        _place(name, edge)
        for name, edge in edges.items()
        if any((Node.parse(source), Node.parse(edge.to)) in steps for source in edge.sources)
    ]
    way = " -> ".join(str(node) for node in cycle)
    return (
        f"{'; '.join(guilty)}: a node would need its own result ({way}). "
        "Let the edge enter at a later layer, or start from an earlier one."
    )
