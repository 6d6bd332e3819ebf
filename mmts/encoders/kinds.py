"""All kinds of encoders: a new kind is one file and its names here."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import Field

from mmts.data.config import StreamConfig
from mmts.data.schema import StreamSchema
from mmts.encoders.base import Encoder, EncoderSettings
from mmts.encoders.conv import ConvEncoder, ConvEncoderConfig
from mmts.encoders.linear import LinearEncoder, LinearEncoderConfig
from mmts.encoders.mlp import MLPEncoder, MLPEncoderConfig
from mmts.encoders.patch import PatchEncoder, PatchEncoderConfig
from mmts.encoders.recurrent import RecurrentEncoder, RecurrentEncoderConfig
from mmts.encoders.text import TextEncoder, TextEncoderConfig
from mmts.encoders.variate import VariateEncoder, VariateEncoderConfig
from mmts.kinds import Kinds

ENCODERS: dict[type[EncoderSettings], type[Encoder]] = {
    PatchEncoderConfig: PatchEncoder,
    ConvEncoderConfig: ConvEncoder,
    RecurrentEncoderConfig: RecurrentEncoder,
    LinearEncoderConfig: LinearEncoder,
    MLPEncoderConfig: MLPEncoder,
    VariateEncoderConfig: VariateEncoder,
    TextEncoderConfig: TextEncoder,
}

ENCODER_KINDS: Kinds[EncoderSettings, Encoder] = Kinds(
    "encoder", EncoderSettings, Encoder, ENCODERS
)

EncoderConfig = Annotated[
    PatchEncoderConfig
    | ConvEncoderConfig
    | RecurrentEncoderConfig
    | LinearEncoderConfig
    | MLPEncoderConfig
    | VariateEncoderConfig
    | TextEncoderConfig,
    Field(discriminator="kind"),
    ENCODER_KINDS,
]
"""What may stand for an encoder in a config: settings of a kind built in, or of an own kind."""

EncoderModule = TypeVar("EncoderModule", bound=Encoder)


def register_encoder(module: type[EncoderModule]) -> type[EncoderModule]:
    """Make a class a kind that configs and checkpoints may name, in this process.

    module: has its settings as `config_class`. Returned as it is, so that this may stand above
    the class, as a decorator. Raises KindError.
    """
    ENCODER_KINDS.register(module)
    return module


def build_encoder(
    config: EncoderSettings,
    schema: StreamSchema,
    vocabulary_sizes: dict[str, int],
    time_unit: float,
) -> Encoder:
    """Build the encoder of one stream; time_unit: seconds per forecast step."""
    module = ENCODER_KINDS.module_class(config.kind)
    return module(config, schema, vocabulary_sizes, time_unit)


def default_encoder(stream: StreamConfig) -> EncoderConfig:
    """Return the kind that suits a stream.

    A token per row where the future is read by step, and where rows are events; patches of rows
    for long regular streams.
    """
    if stream.is_static:
        return MLPEncoderConfig(dim=32, num_layers=1)
    if stream.future or stream.calendar or stream.stamp == "event":
        return ConvEncoderConfig(dim=32, num_layers=2)
    if stream.text:
        # Few and far between, and each with a meaning of its own.
        # On weekly and monthly reports `text` was better in one set of three at 32 channels a text,
        # and at 64 in the one tried there: no case yet for making it the default.
        return MLPEncoderConfig(dim=32, num_layers=2)
    return PatchEncoderConfig()
