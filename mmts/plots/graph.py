"""The graph of a model: streams in rows, layers in columns, and edges between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path
from matplotlib.patheffects import withStroke

from mmts.interactions.base import InteractionSettings
from mmts.interactions.graph import OUT, Node
from mmts.model import ModelConfig, MultimodalForecaster
from mmts.plots.graph_layout import (
    BOX_WIDTH,
    TAG_RADIUS,
    Box,
    Branch,
    GraphLayout,
    Route,
    lay_out,
)
from mmts.plots.style import INK, MUTED, ShownFigure

KIND_COLORS = {
    "residual": "#2f8f5b",
    "film": "#d1662f",
    "weighted": "#7b57b2",
    "attention": "#1f6fb4",
    "joint": "#c23a76",
    "bottleneck": "#a8841f",
}
"""An edge of another kind, from a package of the user's, is drawn in ink."""

MAX_WIDTH = 5.5
"""Of the strongest edge, in points; widths are proportional to strengths."""

MIN_WIDTH = 0.7
"""Of the weakest that is drawn as a full line."""

PLAIN_WIDTH = 1.7
"""Where no strengths are known."""

_NEGLIGIBLE = 1e-3
"""Strength below which an edge is drawn dashed: it adds next to nothing."""

_MARGIN = 0.2
_LINE = 0.21
_CHARACTER, _BOLD_CHARACTER = 0.066, 0.088
_DASHES = (0, (3, 2))


def plot_graph(
    config: ModelConfig,
    model: MultimodalForecaster,
    strengths: Mapping[str, float] | None = None,
    title: str = "Streams, layers and the edges between them",
) -> Figure:
    """Draw which layer of which stream conditions which, and how strongly.

    strengths: of each edge by name, such as those of an explanation; without them all edges are
    equally wide. Dashed is what adds nothing, or has no path to the head and is not built.
    Edges have numbers, which a list below explains.
    """
    target = model.schema.target_stream
    edges = config.edges(target)
    numbers = {name: number for number, name in enumerate(edges, start=1)}
    branches = [
        Branch(name, Node.parse(source), Node.parse(edge.to))
        for name, edge in edges.items()
        for source in edge.sources
    ]
    reads = [*model.past_reads, *(Node(stream, OUT) for stream in model.future_streams)]
    labels = {stream: _describe(config, stream, target) for stream in config.encoders}
    room = max(
        max(_BOLD_CHARACTER * len(name), _CHARACTER * len(kind)) for name, kind in labels.values()
    )
    layout = lay_out(config.num_layers(), target, branches, reads, 0.15 + room)

    built = set(model.sources)
    lines = [_say_edge(name, edge, strengths, name in built) for name, edge in edges.items()]
    width = max(layout.right + 2 * _MARGIN, 6.6)
    num_columns = max(1, int((width - 0.3) / (_CHARACTER * max(map(len, lines), default=1) + 0.45)))
    num_lines = max(1, math.ceil(len(lines) / num_columns))
    scale = _Scale(strengths, built)
    legend = _wrap(_legend(edges, scale), width - 2 * _MARGIN)
    explained = layout.bottom - 0.35
    listed = explained - _LINE * len(legend) - 0.1
    bottom = listed - _LINE * num_lines - 0.02
    height = layout.top + 0.65 - bottom
    figure = ShownFigure(figsize=(width, height), facecolor="white")
    figure.suptitle(
        title, x=_MARGIN / width, y=1 - 0.14 / height, ha="left", va="top",
        fontsize=12, fontweight="bold", color=INK,
    )  # fmt: skip
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-_MARGIN, width - _MARGIN)
    axes.set_ylim(bottom, bottom + height)

    idle = set(model.schedule.idle)
    _draw_streams(axes, layout, labels, idle)
    _draw_head(axes, layout, reads)
    # The strongest on top, so that none is hidden by a weaker one.
    for route in sorted(layout.routes, key=lambda route: scale.width(route.branch.edge)):
        _draw_edge(axes, route, _color(edges[route.branch.edge]), scale)
    for route in layout.routes:
        _draw_tag(axes, route, numbers[route.branch.edge], _color(edges[route.branch.edge]))
    for node in layout.pluses:
        _draw_plus(axes, node, layout.pluses[node])
    _draw_legend(axes, legend, explained)
    pitch = (width - 2 * _MARGIN) / num_columns
    for place, (line, edge) in enumerate(zip(lines, edges.values(), strict=True)):
        x, y = place // num_lines * pitch, listed - _LINE * (place % num_lines)
        _draw_number(axes, x + TAG_RADIUS + 0.02, y, place + 1, _color(edge))
        axes.text(x + 0.28, y, line, fontsize=8, color=INK, va="center_baseline")
    return figure


class _Scale:
    """From strengths to widths of lines."""

    def __init__(self, strengths: Mapping[str, float] | None, built: set[str]) -> None:
        self.strengths = strengths
        self.built = built
        known = [x for x in (strengths or {}).values() if math.isfinite(x)]
        self.strongest = max(known, default=0.0)

    def adds(self, edge: str) -> bool:
        """Return whether the edge is there and adds something."""
        if edge not in self.built:
            return False
        return self.strengths is None or self.strengths.get(edge, 0.0) > _NEGLIGIBLE

    def width(self, edge: str) -> float:
        if not self.adds(edge):
            return 1.1
        return PLAIN_WIDTH if self.strengths is None else self.of(self.strengths[edge])

    def of(self, strength: float) -> float:
        return max(MIN_WIDTH, MAX_WIDTH * strength / self.strongest)


def _describe(config: ModelConfig, stream: str, target: str) -> tuple[str, str]:
    encoder = config.encoders[stream]
    name = f"{stream} (target)" if stream == target else stream
    return name, f"{encoder.kind}, {encoder.num_layers} x {encoder.dim}"


def _say_edge(
    name: str, edge: InteractionSettings, strengths: Mapping[str, float] | None, is_built: bool
) -> str:
    nodes = f"{' + '.join(edge.sources)} \N{RIGHTWARDS ARROW} {edge.to}"
    own = "" if name.startswith(f"{edge.kind}_") else f"{name}: "
    strength = ""
    if not is_built:
        strength = "  (not built)"
    elif strengths is not None:
        strength = f"  {strengths.get(name, 0.0):.3f}"
    return f"{own}{nodes}{strength}"


def _color(edge: InteractionSettings) -> str:
    return KIND_COLORS.get(edge.kind, INK)


def _draw_streams(
    axes: Axes, layout: GraphLayout, labels: Mapping[str, tuple[str, str]], idle: set[Node]
) -> None:
    for stream, y in layout.rows.items():
        name, kind = labels[stream]
        axes.text(0, y + 0.07, name, fontsize=9.5, fontweight="bold", color=INK, va="center")
        axes.text(0, y - 0.1, kind, fontsize=8, color=MUTED, va="center")
        own = sorted((box.x, node) for node, box in layout.boxes.items() if node.stream == stream)
        for (x, _), (to_x, node) in pairwise(own):
            ends = (x + BOX_WIDTH / 2, y), (to_x - BOX_WIDTH / 2, y)
            _draw_arrow(axes, *ends, dashed=node in idle)
        for _, node in own:
            _draw_box(axes, layout.boxes[node], node.layer, node in idle)


def _draw_box(axes: Axes, box: Box, label: str, is_idle: bool) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (box.x - box.width / 2, box.y - box.height / 2), box.width, box.height,
            boxstyle="round,pad=0,rounding_size=0.06", facecolor="white" if is_idle else "#f3f5f7",
            edgecolor=MUTED, linewidth=0.9, linestyle=_DASHES if is_idle else "-", zorder=4,
        )
    )  # fmt: skip
    color = MUTED if is_idle else INK
    axes.text(
        box.x, box.y, label, fontsize=9, color=color, ha="center", va="center_baseline", zorder=6
    )


def _draw_arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], dashed: bool = False
) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=7, shrinkA=0, shrinkB=0,
            color=MUTED, linewidth=0.9, linestyle=_DASHES if dashed else "-", zorder=1,
        )
    )  # fmt: skip


def _draw_head(axes: Axes, layout: GraphLayout, reads: Sequence[Node]) -> None:
    head = layout.head
    _draw_box(axes, head, "head", is_idle=False)
    for node in dict.fromkeys(reads):
        box = layout.boxes[node]
        end = (head.x - head.width / 2, box.y)
        if node.layer == OUT:
            _draw_arrow(axes, (box.x + box.width / 2, box.y), end)
            continue
        # Below its row, where there are fewer arrows of edges.
        start, low = (box.x + 0.1, box.y - box.height / 2), box.y - 0.4
        end = (end[0], box.y - 0.24)
        axes.add_patch(
            PathPatch(
                Path([start, (start[0], low), (start[0] + 0.3, low), (end[0] - 0.6, low),
                      (end[0] - 0.3, low), (end[0] - 0.3, end[1]), end],
                     [Path.MOVETO, Path.CURVE3, Path.CURVE3, Path.LINETO,
                      Path.CURVE4, Path.CURVE4, Path.CURVE4]),
                facecolor="none", edgecolor=MUTED, linewidth=0.9, zorder=1,
            )
        )  # fmt: skip
        _draw_arrow(axes, (end[0] - 0.02, end[1]), end)


def _draw_edge(axes: Axes, route: Route, color: str, scale: _Scale) -> None:
    width, adds = scale.width(route.branch.edge), scale.adds(route.branch.edge)
    way = -1 if route.sinks else 1
    length, half = 0.075 + width / 72, 0.038 + 0.62 * width / 72
    x, y = route.end
    # The line ends within the tip, which is as pointed as if there were no line.
    stop = (x, y - way * length * 0.8)
    *points, last = route.curve
    codes = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
    if last == route.end:
        vertices = [*points, stop]
    else:
        vertices, codes = [*points, last, stop], [*codes, Path.LINETO]
    axes.add_patch(
        PathPatch(
            Path(vertices, codes), facecolor="none", edgecolor=color, linewidth=width,
            linestyle="-" if adds else _DASHES, capstyle="butt", zorder=2,
            path_effects=[withStroke(linewidth=width + 1.6, foreground="white")] if adds else None,
        )
    )  # fmt: skip
    tip = [(x, y), (x - half, y - way * length), (x + half, y - way * length)]
    axes.add_patch(Polygon(tip, closed=True, facecolor=color, edgecolor="none", zorder=3))


def _draw_tag(axes: Axes, route: Route, number: int, color: str) -> None:
    _draw_number(axes, *route.tag, number, color)


def _draw_number(axes: Axes, x: float, y: float, number: int, color: str) -> None:
    width = 2 * TAG_RADIUS + (0.05 if number > 9 else 0)
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - TAG_RADIUS), width, 2 * TAG_RADIUS,
            boxstyle=f"round,pad=0,rounding_size={TAG_RADIUS}", facecolor="white", edgecolor=color,
            linewidth=1.0, zorder=7,
        )
    )  # fmt: skip
    axes.text(
        x, y, str(number), fontsize=7, color=color, fontweight="bold", ha="center",
        va="center_baseline", zorder=8,
    )  # fmt: skip


def _draw_plus(axes: Axes, node: Node, box: Box) -> None:
    if node.layer == "0":
        return
    axes.add_patch(
        FancyBboxPatch(
            (box.x - box.width / 2, box.y - box.height / 2), box.width, box.height,
            boxstyle=f"round,pad=0,rounding_size={box.height / 2}", facecolor="white",
            edgecolor=INK, linewidth=0.9, zorder=4,
        )
    )  # fmt: skip
    arm = 0.042
    for xs, ys in (([-arm, arm], [0, 0]), ([0, 0], [-arm, arm])):
        axes.plot(
            [box.x + x for x in xs], [box.y + y for y in ys],
            color=INK, linewidth=0.9, solid_capstyle="butt", zorder=5,
        )  # fmt: skip


class _LegendEntry(NamedTuple):
    """A line and what it stands for, in the legend."""

    label: str
    color: str
    width: float
    dashed: bool = False


def _legend(edges: Mapping[str, InteractionSettings], scale: _Scale) -> list[_LegendEntry]:
    """Explain colours, widths and dashes."""
    colors = {edge.kind: _color(edge) for edge in edges.values()}
    entries = [_LegendEntry(kind, color, 2.2) for kind, color in colors.items()]
    if scale.strengths is not None and scale.strongest > _NEGLIGIBLE:
        entries += [
            _LegendEntry(f"strength {strength:.2g}", MUTED, scale.of(strength))
            for strength in (scale.strongest, scale.strongest / 4)
        ]
    if any(not scale.adds(name) for name in edges):
        entries.append(_LegendEntry("adds nothing or is not built", MUTED, 1.1, dashed=True))
    return entries


def _wrap(entries: Sequence[_LegendEntry], width: float) -> list[list[tuple[float, _LegendEntry]]]:
    """Put entries into lines, each with its x."""
    lines: list[list[tuple[float, _LegendEntry]]] = [[]]
    x = 0.0
    for entry in entries:
        needed = 0.34 + _CHARACTER * len(entry.label)
        if lines[-1] and x + needed > width:
            lines.append([])
            x = 0.0
        lines[-1].append((x, entry))
        x += needed + 0.16
    return lines


def _draw_legend(
    axes: Axes, lines: Sequence[Sequence[tuple[float, _LegendEntry]]], top: float
) -> None:
    for place, line in enumerate(lines):
        y = top - _LINE * place
        for x, entry in line:
            axes.plot(
                [x, x + 0.28], [y, y], color=entry.color, linewidth=entry.width,
                solid_capstyle="butt", linestyle=_DASHES if entry.dashed else "-",
            )  # fmt: skip
            axes.text(x + 0.34, y, entry.label, fontsize=8, color=INK, va="center_baseline")
