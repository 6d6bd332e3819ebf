"""Streams and windows of them, and encoders that read them, made without any file."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import TypeAdapter

from mmts.data.batch import StreamWindow
from mmts.data.clock import Clock
from mmts.data.schema import ColumnSchema, StreamSchema
from mmts.encoders.base import Encoder
from mmts.encoders.kinds import EncoderConfig, build_encoder
from mmts.tokens import Tokens

HOUR = 3_600_000_000
COLUMNS = (
    ColumnSchema(name="load", role="past", type="number"),
    ColumnSchema(name="plan", role="future", type="number"),
    ColumnSchema(name="shift", role="future", type="category"),
    ColumnSchema(name="note", role="past", type="text", width=5),
)


def make_schema(**changes: Any) -> StreamSchema:
    """Make an hourly stream with a column of every type, in part known over the horizon."""
    facts = {
        "columns": COLUMNS, "time": "time", "item": None, "has_items": False,
        "clock": Clock(every=HOUR), "stamp": "start", "delay": 0, "known_ahead": None,
        "context_steps": 10, "context_span": 10 * HOUR, "future_steps": 6,
    }  # fmt: skip
    return StreamSchema.model_validate(facts | changes)


REGULAR = make_schema()
EVENTS = make_schema(clock=None, stamp="event", future_steps=0)
PLANNED = make_schema(clock=None, stamp="event")
STATIC = make_schema(time=None, clock=None, context_steps=1, context_span=0, future_steps=0)
ONE_STEP = make_schema(context_steps=1, context_span=HOUR, future_steps=0)
SCHEMAS = {
    "regular": REGULAR,
    "events": EVENTS,
    "planned": PLANNED,
    "static": STATIC,
    "one step": ONE_STEP,
}


def make_window(schema: StreamSchema = REGULAR, seed: int = 0) -> StreamWindow:
    """Make two windows in which about a third of the values is missing, and of events rows too."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, schema.num_steps)
    values = torch.randn(*shape, schema.num_channels, generator=generator)
    values[..., 2] = torch.randint(0, 3, shape, generator=generator).float()
    observed = torch.rand(*shape, len(schema.columns), generator=generator) < 0.7
    for column, past in enumerate(column.role == "past" for column in schema.columns):
        if past:
            observed[:, schema.context_steps :, column] = False
    widths = torch.tensor([column.width for column in schema.columns])
    observed = observed.repeat_interleave(widths, dim=-1)
    start = (torch.arange(schema.num_steps) - schema.context_steps).expand(2, -1) * 3600.0
    if not (schema.is_regular or schema.is_static):
        # As windows have it, places at which there is no event hold no time either.
        is_there = torch.rand(shape, generator=generator) < 0.7
        observed &= is_there[..., None]
        start = torch.where(is_there, start, -schema.context_span / 1e6)
    end = start + (3600.0 if schema.is_regular else 0.0)
    available = torch.where(start < 0, end, -torch.inf)
    if schema.is_static:
        start = end = torch.zeros(shape)
        available = torch.full(shape, -torch.inf)
    return StreamWindow(values.masked_fill(~observed, 0.0), observed, start, end, available)


def build(settings: dict[str, Any], schema: StreamSchema = REGULAR, seed: int = 0) -> Encoder:
    """Build an encoder, without dropout unless it is asked for."""
    torch.manual_seed(seed)
    return build_encoder(read_config(settings), schema, {"shift": 2}, time_unit=3600.0)


def read_config(settings: dict[str, Any]) -> EncoderConfig:
    """Read the settings of an encoder, without dropout unless it is asked for."""
    calm = {"dropout": 0.0} | ({"text_dropout": 0.0} if settings["kind"] == "text" else {})
    config: EncoderConfig = TypeAdapter(EncoderConfig).validate_python({**calm, **settings})
    return config


def run(encoder: Encoder, window: StreamWindow) -> list[Tokens]:
    """Return the value of every node: the embedding, each layer, the final norm."""
    nodes = [encoder.embed(window)]
    for layer in range(1, len(encoder.layers) + 1):
        nodes.append(encoder.run_layer(layer, nodes[-1]))
    return [*nodes, encoder.run_norm(nodes[-1])]
