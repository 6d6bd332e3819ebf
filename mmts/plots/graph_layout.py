"""Where everything stands in a drawing of the graph; all lengths are inches, y points upwards."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mmts.interactions.graph import OUT, Node

BOX_WIDTH, BOX_HEIGHT = 0.46, 0.32
PLUS_HEIGHT = 0.15
TAG_RADIUS = 0.085
HEAD_WIDTH = 0.52

_SLOT = 0.145
"""Between two arrows that leave or reach the same place."""

_COLUMN_GAP = 0.42
_BEFORE_BOX = 0.13
_ROW_GAP = 0.62
_PER_EDGE = 0.035
"""By which a gap grows with each arrow that crosses it."""

Point = tuple[float, float]
Points = npt.NDArray[np.float64]


class Box(NamedTuple):
    """A rectangle by its middle."""

    x: float
    y: float
    width: float
    height: float


class Branch(NamedTuple):
    """An arrow from one source of an edge to the node that it adds to."""

    edge: str
    source: Node
    to: Node


@dataclass(frozen=True)
class Route:
    """The way of a branch: a Bezier curve, then a straight line where it passes other rows.

    curve: its four points. end: where it arrives, vertically; sinks: whether from above.
    tag: where the number of the edge stands.
    """

    branch: Branch
    curve: tuple[Point, Point, Point, Point]
    end: Point
    sinks: bool
    tag: Point


@dataclass(frozen=True)
class GraphLayout:
    """Boxes of nodes, the places where edges are added, the ways of edges, and the head.

    rows: y of each stream. pluses: per node that edges add to, before its box.
    bottom: of all that is drawn.
    """

    rows: dict[str, float]
    boxes: dict[Node, Box]
    pluses: dict[Node, Box]
    routes: tuple[Route, ...]
    head: Box
    left: float
    right: float
    top: float
    bottom: float


def lay_out(
    num_layers: Mapping[str, int],
    target_stream: str,
    branches: Sequence[Branch],
    reads: Sequence[Node],
    label_width: float,
) -> GraphLayout:
    """Place streams in rows, with that of the target in the middle, and layers in columns.

    reads: nodes of the head. label_width: room left of the first column.
    """
    order = _order_rows(list(num_layers), target_stream)
    ranks = {stream: place for place, stream in enumerate(order)}
    sides = {branch: _sinks(branch, ranks) for branch in branches}
    arrivals = _group(branches, sides)
    offsets = _stagger(branches, arrivals, ranks)
    columns = _place_columns(num_layers, arrivals, offsets, label_width)
    rows = _place_rows(order, branches, ranks)
    boxes = {
        Node(stream, layer): Box(columns[layer], rows[stream], BOX_WIDTH, BOX_HEIGHT)
        for stream, last in num_layers.items()
        for layer in (*map(str, range(last + 1)), OUT)
    }
    pluses = _place_pluses(boxes, arrivals, offsets)
    routes = _route(branches, sides, ranks, rows, boxes, pluses)
    read_rows = [rows[node.stream] for node in reads]
    top, bottom = max(read_rows) + BOX_HEIGHT, min(read_rows) - BOX_HEIGHT
    x = columns[OUT] + BOX_WIDTH / 2 + 0.5 + HEAD_WIDTH / 2
    return GraphLayout(
        rows=rows,
        boxes=boxes,
        pluses=pluses,
        routes=_place_tags(routes, boxes, pluses),
        head=Box(x, (top + bottom) / 2, HEAD_WIDTH, top - bottom),
        left=0.0,
        right=x + HEAD_WIDTH / 2,
        top=_reach(routes, rows, upwards=True),
        bottom=_reach(routes, rows, upwards=False),
    )


def sample(route: Route, num_points: int = 40) -> Points:
    """Return points along a route, (point, 2)."""
    t = np.linspace(0, 1, num_points)[:, None]
    a, b, c, d = (np.array(point) for point in route.curve)
    curve = (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
    if route.curve[-1] == route.end:
        return np.asarray(curve, dtype=np.float64)
    line = d + t[1:] * (np.array(route.end) - d)
    return np.concatenate([curve, line]).astype(np.float64)


def _order_rows(streams: list[str], target: str) -> list[str]:
    """Put the target in the middle, so that no arrow is longer than it must be."""
    others = [stream for stream in streams if stream != target]
    half = math.ceil(len(others) / 2)
    return [*others[:half], target, *others[half:]]


def _sinks(branch: Branch, ranks: Mapping[str, int]) -> bool:
    """Return whether an arrow reaches its node from above."""
    source, to = ranks[branch.source.stream], ranks[branch.to.stream]
    if source == to:
        # Within a stream it takes the side where there is no other.
        return to < len(ranks) - 1 or len(ranks) == 1
    return source < to


def _group(
    branches: Sequence[Branch], sides: Mapping[Branch, bool], at_source: bool = False
) -> dict[Node, dict[bool, list[Branch]]]:
    """Return the arrows at each node, by side; above is True."""
    grouped: dict[Node, dict[bool, list[Branch]]] = {}
    for branch in branches:
        by_side = grouped.setdefault(branch.source if at_source else branch.to, {})
        by_side.setdefault(sides[branch], []).append(branch)
    return grouped


def _column_of(node: Node) -> float:
    return math.inf if node.layer == OUT else int(node.layer)


def _stagger(
    branches: Sequence[Branch],
    arrivals: Mapping[Node, Mapping[bool, Sequence[Branch]]],
    ranks: Mapping[str, int],
) -> dict[Node, float]:
    """Return how far before its box the place of each node's edges ends.

    Where an arrow passes the row of another stream on its way, the places of both must not stand
    one above the other.
    """
    passed = {
        branch.to.layer
        for branch in branches
        if abs(ranks[branch.source.stream] - ranks[branch.to.stream]) > 1
    }
    offsets: dict[Node, float] = {}
    used: dict[str, float] = defaultdict(lambda: _BEFORE_BOX)
    # Those of most arrows, as a rule the target's, stand next to their box.
    for node in sorted(arrivals, key=lambda node: -_plus_width(arrivals[node])):
        offsets[node] = used[node.layer]
        if node.layer in passed:
            used[node.layer] += _plus_width(arrivals[node]) + 0.06
    return offsets


def _place_columns(
    num_layers: Mapping[str, int],
    arrivals: Mapping[Node, Mapping[bool, Sequence[Branch]]],
    offsets: Mapping[Node, float],
    label_width: float,
) -> dict[str, float]:
    columns: dict[str, float] = {}
    x = label_width
    for layer in (*map(str, range(max(num_layers.values()) + 1)), OUT):
        widths = [
            offsets[node] + _plus_width(sides)
            for node, sides in arrivals.items()
            if node.layer == layer
        ]
        if layer != "0":
            x += max(_COLUMN_GAP, 0.2 + max(widths, default=0.0))
        columns[layer] = x + BOX_WIDTH / 2
        x += BOX_WIDTH
    return columns


def _plus_width(sides: Mapping[bool, Sequence[Branch]]) -> float:
    return max(PLUS_HEIGHT, _SLOT * max(len(branches) for branches in sides.values()))


def _place_rows(
    order: Sequence[str], branches: Sequence[Branch], ranks: Mapping[str, int]
) -> dict[str, float]:
    """Give each stream its y, from the top down; gaps grow with what crosses them."""
    crossing: dict[int, int] = defaultdict(int)
    for branch in branches:
        first, last = sorted((ranks[branch.source.stream], ranks[branch.to.stream]))
        for gap in range(first, last):
            crossing[gap] += 1
    rows, y = {}, 0.0
    for rank, stream in enumerate(order):
        rows[stream] = y
        y -= BOX_HEIGHT + min(_ROW_GAP + _PER_EDGE * crossing[rank], 2.0)
    return rows


def _place_pluses(
    boxes: Mapping[Node, Box],
    arrivals: Mapping[Node, Mapping[bool, Sequence[Branch]]],
    offsets: Mapping[Node, float],
) -> dict[Node, Box]:
    pluses = {}
    for node, sides in arrivals.items():
        box = boxes[node]
        if node.layer == "0":
            # What is added to an embedding comes after it: it is the node itself that changes.
            pluses[node] = box
            continue
        width = _plus_width(sides)
        x = box.x - BOX_WIDTH / 2 - offsets[node] - width / 2
        pluses[node] = Box(x, box.y, width, PLUS_HEIGHT)
    return pluses


def _route(
    branches: Sequence[Branch],
    sides: Mapping[Branch, bool],
    ranks: Mapping[str, int],
    rows: Mapping[str, float],
    boxes: Mapping[Node, Box],
    pluses: Mapping[Node, Box],
) -> list[Route]:
    ends: dict[Branch, float] = {}
    starts: dict[Branch, float] = {}
    for node, by_side in _group(branches, sides).items():
        for found in by_side.values():
            found.sort(key=lambda b: (_column_of(b.source), ranks[b.source.stream], b.edge))
            ends.update(zip(found, _slots(pluses[node], len(found)), strict=True))
    # An arrow within a stream leaves on the side on which it arrives, all others on the far one.
    away = {
        branch: sinks if branch.source.stream == branch.to.stream else not sinks
        for branch, sinks in sides.items()
    }
    for node, by_side in _group(branches, away, at_source=True).items():
        for found in by_side.values():
            found.sort(key=lambda b: (ends[b], b.edge))
            starts.update(zip(found, _slots(boxes[node], len(found)), strict=True))
    ys = list(rows.values())
    routes = []
    for branch in branches:
        sinks, source, plus = sides[branch], boxes[branch.source], pluses[branch.to]
        x, to_x = starts[branch], ends[branch]
        end = (to_x, plus.y + (1 if sinks else -1) * plus.height / 2)
        if branch.source.stream == branch.to.stream:
            way = 1 if sinks else -1
            y = source.y + way * source.height / 2
            height = way * min(0.22 + 0.16 * abs(to_x - x), 0.62)
            curve = ((x, y), (x, y + height), (to_x, y + height), end)
        else:
            way = -1 if sinks else 1
            y = source.y + way * source.height / 2
            step = 1 if sinks else -1
            neighbour = ranks[branch.source.stream] + step
            direct = neighbour == ranks[branch.to.stream]
            stop = end[1] if direct else ys[neighbour] - way * BOX_HEIGHT / 2
            bend = 0.55 * (stop - y)
            curve = ((x, y), (x, y + bend), (to_x, stop - bend), (to_x, stop))
        routes.append(Route(branch, curve, end, sinks, end))
    return routes


def _slots(box: Box, count: int) -> list[float]:
    """Return places along a box, evenly spread and no wider than needed."""
    pitch = min(_SLOT, box.width / count)
    return [box.x + (place - (count - 1) / 2) * pitch for place in range(count)]


def _place_tags(
    routes: Sequence[Route], boxes: Mapping[Node, Box], pluses: Mapping[Node, Box]
) -> tuple[Route, ...]:
    """Put each number where on its route there is most room."""
    paths = [sample(route) for route in routes]
    taken: list[Point] = []
    placed = []
    for place, (route, path) in enumerate(zip(routes, paths, strict=True)):
        inner = path[4:-6]
        room = np.full(len(inner), 0.35)
        for box in (*boxes.values(), *pluses.values()):
            room = np.minimum(room, _distance_to_box(inner, box))
        for point in taken:
            room = np.minimum(room, np.hypot(*(inner - point).T) - TAG_RADIUS)
        for other in (*paths[:place], *paths[place + 1 :]):
            apart = np.hypot(*(inner[:, None] - other[None]).transpose(2, 0, 1)).min(axis=1)
            room = np.minimum(room, 0.06 + 0.8 * apart)
        # Of equal places the one in the middle.
        room -= 0.02 * np.abs(np.linspace(-1, 1, len(inner)))
        x, y = inner[int(room.argmax())]
        taken.append((float(x), float(y)))
        placed.append(Route(route.branch, route.curve, route.end, route.sinks, taken[-1]))
    return tuple(placed)


def _distance_to_box(points: Points, box: Box) -> Points:
    x = np.maximum(np.abs(points[:, 0] - box.x) - box.width / 2, 0)
    y = np.maximum(np.abs(points[:, 1] - box.y) - box.height / 2, 0)
    found: Points = np.hypot(x, y)
    return found


def _reach(routes: Sequence[Route], rows: Mapping[str, float], upwards: bool) -> float:
    """Return how high, or how deep, anything reaches."""
    ys = [float(y) for route in routes for y in sample(route)[:, 1]]
    if upwards:
        return max([*ys, max(rows.values()) + BOX_HEIGHT / 2])
    return min([*ys, min(rows.values()) - BOX_HEIGHT / 2])
