"""The interactions written as loops over windows, tokens and heads: slow, and easy to follow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmts.interactions.alignment import Reach
from mmts.interactions.as_of import AsOf
from mmts.layers.attention import TimedAttention
from mmts.tokens import TokenGrid, Tokens


def visible(
    target: TokenGrid, source: TokenGrid, reach: Reach, window: int, place: int
) -> list[int]:
    """Return the source tokens that a target token may look at."""
    now = float(target.end[window, place])
    found = []
    for i in range(source.end.shape[1]):
        may = bool(source.observed[window, i])
        if reach.causal and not source.ageless:
            may = may and float(source.available[window, i]) <= min(now, 0.0)
        if reach.max_lag is not None and not source.ageless:
            may = may and now - float(source.end[window, i]) <= reach.max_lag
        if may:
            found.append(i)
    return found


def tokens_read(
    target: TokenGrid, source: TokenGrid, reach: Reach, window: int, place: int
) -> list[int]:
    """Return the source tokens of which a target token takes the mean."""
    seen = visible(target, source, reach, window, place)
    if source.ageless or target.ageless:
        return seen
    now = float(target.end[window, place])
    ends = [float(end) for end in target.end[window, :place]]
    before = max((end for end in ends if end < now), default=-math.inf)
    counting, recent = [], []
    for i in seen:
        start, end = float(source.start[window, i]), float(source.end[window, i])
        available = float(source.available[window, i])
        if not reach.causal:
            since, planned = start, end > start
        elif available < start or (available == start and end > start):
            since, planned = start, True
        else:
            since, planned = max(end, available), False
        if since < now if planned else since <= now:
            counting.append((since, i))
            if since >= before if planned else since > before:
                recent.append(i)
    if counting and not recent:
        latest = max(since for since, _ in counting)
        return [i for since, i in counting if since == latest]
    return recent


def middle(grid: TokenGrid, window: int, place: int) -> float:
    """Return where a token stands in time."""
    return float(grid.start[window, place] + grid.end[window, place]) / 2


def age_of(target: TokenGrid, source: TokenGrid, read: list[int], window: int, place: int) -> float:
    """Return how long before the end of a target token lies what it reads."""
    if not read or source.ageless:
        return 0.0
    middles = [middle(source, window, i) for i in read]
    return float(target.end[window, place]) - sum(middles) / len(middles)


def normal(values: Tensor) -> Tensor:
    """Bring one token to mean zero and variance one."""
    centred = values - values.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt()


def as_of(reader: AsOf, target: TokenGrid, source: Tokens, window: int, place: int) -> Tensor:
    """Return what `AsOf` gives for one target token."""
    read = tokens_read(target, source.grid, reader.reach, window, place)
    if reader.same_stream:
        read = [place] if source.grid.observed[window, place] else []
    if not read:
        return torch.zeros(reader.dim)
    values = normal(torch.stack([source.values[window, i] for i in read]).mean(dim=0))
    usual = reader.centring.mean
    if reader.rate is None:
        return values - usual
    steps = max(age_of(target, source.grid, read, window, place), 0.0) / reader.time_unit
    kept = math.exp(-math.log1p(math.exp(float(reader.rate))) * steps)
    faded = (values - usual[:-1]) * kept
    return torch.cat([faded, math.log1p(steps) - usual[-1:]])


def unit(values: Tensor) -> Tensor:
    """Bring one vector to a mean square of one."""
    return values / (values.square().mean() + torch.finfo(values.dtype).eps).sqrt()


def rotated(vector: Tensor, position: float, frequencies: Tensor) -> Tensor:
    """Rotate the pairs (0, n / 2), (1, n / 2 + 1), ... of one head."""
    half = len(vector) // 2
    turned = vector.clone()
    for pair in range(half):
        angle = position * float(frequencies[pair])
        first, second = float(vector[pair]), float(vector[half + pair])
        turned[pair] = first * math.cos(angle) - second * math.sin(angle)
        turned[half + pair] = first * math.sin(angle) + second * math.cos(angle)
    return turned


def attend(
    attention: TimedAttention,
    query: Tensor,
    query_time: float,
    source: Sequence[Tensor],
    source_time: Sequence[float],
    counts: Sequence[int] | None = None,
    offsets: Sequence[float] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return what one query takes from these tokens, and the weight of each, mean of heads."""
    heads = attention.num_heads
    nearest: list[float] = []
    for count in counts or [len(source)]:
        own = source_time[len(nearest) : len(nearest) + count]
        nearest += [min(abs(query_time - other) for other in own)] * count if own else []
    queries = (attention.query.weight @ query).chunk(heads)
    taken, shares = [], torch.zeros(len(source))
    for head in range(heads):
        asked, null = queries[head], attention.null_key[head]
        if attention.sharpness is not None:
            asked, null = unit(asked) * attention.sharpness[head].exp(), unit(null)
        asked = rotated(asked, query_time / attention.time_unit, attention.frequencies)
        size = math.sqrt(len(asked))
        changed = attention.sharpness is not None or attention.slopes is not None
        scores = [asked @ null / size + (attention.null_score if changed else 0.0)]
        values = [torch.zeros_like(asked)]
        for number, (token, time) in enumerate(zip(source, source_time, strict=True)):
            key = (attention.key.weight @ token).chunk(heads)[head]
            if attention.sharpness is not None:
                key = unit(key)
            key = rotated(key, time / attention.time_unit, attention.frequencies)
            score = asked @ key / size
            if attention.slopes is not None:
                distance = abs(query_time - time) / attention.time_unit
                if attention.from_nearest:
                    distance -= nearest[number] / attention.time_unit
                score = score - attention.slopes[head] * distance
            scores.append(score + (offsets[number] if offsets is not None else 0.0))
            values.append((attention.value.weight @ token).chunk(heads)[head])
        weights = torch.stack(scores).softmax(dim=0)
        taken.append(sum(w * v for w, v in zip(weights, values, strict=True)))
        shares += weights[1:] / heads
    return attention.output.weight @ torch.cat(taken), shares


def modulated(values: Tensor, taken: Tensor) -> Tensor:
    """Scale and shift one normalised token, or only shift it."""
    if len(taken) == len(values):
        return taken
    scale, shift = taken.chunk(2)
    return scale * normal(values) + shift


def residual(edge: Any, target: Tokens, sources: Sequence[Tokens], w: int, t: int) -> Tensor:
    """Project the source, or scale its channels."""
    values = as_of(edge.reader, target.grid, sources[0], w, t)
    if edge.channel_scale is not None:
        return edge.channel_scale * values
    return edge.projection.weight @ values


def film(edge: Any, target: Tokens, sources: Sequence[Tokens], w: int, t: int) -> Tensor:
    """Scale and shift the normalised target."""
    read = as_of(edge.reader, target.grid, sources[0], w, t)
    return modulated(target.values[w, t], edge.projection.weight @ read)


def weighted(edge: Any, target: Tokens, sources: Sequence[Tokens], w: int, t: int) -> Tensor:
    """Sum projected sources by a softmax over those that are there, and none."""
    logits = edge.logits
    if edge.gate is not None:
        said = edge.gate.weight @ normal(target.values[w, t])
        logits = logits + said / math.sqrt(target.values.shape[-1])
    total, summed = logits[-1].exp(), torch.zeros(target.values.shape[-1])
    for i, (reader, source) in enumerate(zip(edge.readers, sources, strict=True)):
        values = as_of(reader, target.grid, source, w, t)
        if values.any():
            total = total + logits[i].exp()
            summed = summed + logits[i].exp() * (edge.projections[i].weight @ values)
    return summed / total


def gathered(
    edge: Any, target: Tokens, sources: Sequence[Tokens], w: int, t: int
) -> tuple[list[Tensor], list[float], list[int]]:
    """Return the tokens that a target token may look at, their times, and how many per source."""
    projections = edge.gathering.projections
    tokens, times, counts = [], [], []
    for number, source in enumerate(sources):
        seen = visible(target.grid, source.grid, edge.reach, w, t)
        for i in seen:
            token = normal(source.values[w, i]) - edge.gathering.centrings[number].mean
            if projections is not None:
                token = projections[number].weight @ token
            tokens.append(token)
            times.append(middle(source.grid, w, i))
        counts.append(len(seen))
    return tokens, times, counts


def attention(edge: Any, target: Tokens, sources: Sequence[Tokens], w: int, t: int) -> Tensor:
    """Attend to all source tokens that may be seen."""
    tokens, times, counts = gathered(edge, target, sources, w, t)
    query, time = normal(target.values[w, t]), middle(target.grid, w, t)
    taken, _ = attend(edge.attention, query, time, tokens, times, counts)
    return modulated(target.values[w, t], taken)


def joint(edge: Any, target: Tokens, sources: Sequence[Tokens], w: int, t: int) -> Tensor:
    """Attend to the target's own tokens and those of the sources, if there are any of these."""
    tokens, times, counts = gathered(edge, target, [target, *sources], w, t)
    if not sum(counts[1:]):
        return torch.zeros(target.values.shape[-1])
    query, time = normal(target.values[w, t]), middle(target.grid, w, t)
    offsets = [-2.0] * counts[0] + [0.0] * sum(counts[1:])
    taken, _ = attend(edge.attention, query, time, tokens, times, counts, offsets)
    return modulated(target.values[w, t], taken)


def bottleneck(edge: Any, target: Tokens, sources: Sequence[Tokens], w: int, t: int) -> Tensor:
    """Let shared tokens collect, and project them all."""
    tokens, times, counts = gathered(edge, target, sources, w, t)
    time = middle(target.grid, w, t)
    shared = [
        attend(edge.collect, normal(latent), time, tokens, times, counts)[0]
        for latent in edge.shared
    ]
    return modulated(target.values[w, t], edge.projection.weight @ torch.cat(shared))


KINDS = {
    "residual": residual,
    "film": film,
    "weighted": weighted,
    "attention": attention,
    "joint": joint,
    "bottleneck": bottleneck,
}
