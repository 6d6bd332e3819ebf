"""Ways to connect the streams of the synthetic task, with equal numbers of weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from codes import CODES
from regimes import RegimeTask

from mmts.interactions.kinds import InteractionConfig
from mmts.interactions.presets import PresetConfig
from mmts.model import ModelConfig, MultimodalForecaster
from mmts.training.module import count_parameters

DIM = 40
WIDENING = 4
"""By how much a width grows at once where weights are lacking."""
SHARE = 0.95
"""Of the reference's weights that every variant has at least."""
ALL_LAGS = -1
"""In place of a number of codes: all that there are."""

KINDS = tuple(
    config.model_fields["kind"].default for config in get_args(get_args(InteractionConfig)[0])
)
PRESETS = get_args(PresetConfig.model_fields["preset"].annotation)

_CONV = {"kind": "conv", "dim": DIM, "dropout": 0.0}
_ALONE = {"kind": "mlp", "num_layers": 2, "dropout": 0.0}


@dataclass(frozen=True)
class Setup:
    """How a task is put to the model.

    regimes, steps: unless asked for others. encoders: of A, B and N. reference: the variant whose
    number of weights no other falls short of.
    """

    regimes: int
    steps: int
    encoders: Mapping[str, Mapping[str, Any]]
    reference: str


SETUPS = {
    "regimes": Setup(
        regimes=8,
        steps=1500,
        encoders={
            "A": {**_ALONE, "dim": DIM},
            # Every layer sees a token's neighbours, and could multiply them: attention takes
            # most of the steps to find them, and with wider gaps only layer 1 has them.
            "B": {
                "kind": "conv",
                "num_layers": 4,
                "dim": DIM,
                "dropout": 0.0,
                "dilation_growth": 1,
            },
            "N": {**_ALONE, "dim": 16},
        },
        reference="film@2",
    ),
    "switches": Setup(
        regimes=2,
        steps=1500,
        encoders={
            # What a switch stands at is a matter of all events before: layers that remember.
            "A": {"kind": "recurrent", "num_layers": 2, "dim": DIM, "dropout": 0.0},
            # One block has two activations: before its first convolution, token by token, and
            # between its two, after neighbours have met. So it can multiply by what it is told
            # of a regime, and then neighbours by each other, and no more.
            "B": {**_CONV, "num_layers": 1},
            "N": {**_ALONE, "dim": 16},
        },
        reference="film@1",
    ),
}


@dataclass(frozen=True)
class Variant:
    """A way to connect the streams.

    interactions: what stands in `model.interactions`. head_width: of the head, over that of B.
    lags: how many codes B's tokens hold themselves.
    """

    interactions: tuple[dict[str, Any], ...] = ()
    head_width: int = 1
    lags: int = 0


def list_variants(name: str) -> dict[str, Variant]:
    """Return every variant of a task by its name."""
    found = {"none": Variant(), "beside": Variant(lags=1), "beside-all": Variant(lags=ALL_LAGS)}
    depth = SETUPS[name].encoders["B"]["num_layers"]
    for kind in (*KINDS, "weighted-token"):
        settings: dict[str, Any] = {"kind": kind}
        if kind == "weighted-token":
            settings = {"kind": "weighted", "weights": "token"}
        for variant, source, to in _places(kind, depth):
            edge = {**settings, "from": f"A.{source}", "to": f"B.{to}"}
            found[variant] = Variant((edge,))
            found[f"{variant}+noise"] = Variant((edge, {**edge, "from": f"N.{source}"}))
            found[f"{variant}-wide"] = Variant((edge,), head_width=2)
    for preset in PRESETS:
        found[preset if preset != "none" else "no-preset"] = Variant(({"preset": preset},))
        for kind in KINDS:
            found[f"{preset}-{kind}"] = Variant(({"preset": preset, "kind": kind},))
    return found


def _places(kind: str, depth: int) -> Iterator[tuple[str, str, str]]:
    """Yield name, source layer and target layer of single edges."""
    for layer in range(depth + 1):
        yield f"{kind}@{layer}", "out", str(layer)
        yield f"early-{kind}@{layer}", "0", str(layer)
    yield f"late-{kind}", "out", "out"


def build_task(
    name: str, variant: Variant, regimes: int, channels: int, tokens: int, world: int
) -> RegimeTask:
    """Build a task as a variant sees it."""
    lags = tokens // 2 if variant.lags == ALL_LAGS else variant.lags
    return RegimeTask(regimes, channels, tokens, world, CODES[name](regimes), lags)


def configure(name: str, variant: Variant, stream_dropout: float, width: int = DIM) -> ModelConfig:
    """Return the settings of the shipped model for a variant; width: of stream B."""
    encoders = SETUPS[name].encoders
    return ModelConfig.model_validate(
        {
            "encoders": {**encoders, "B": {**encoders["B"], "dim": width}},
            "interactions": variant.interactions,
            "head": {"kind": "point", "dim": variant.head_width * width, "dropout": 0.0},
            "window_normalization": False,
            "linear": None,
            "stream_dropout": stream_dropout,
        }
    )


def configure_equal(
    name: str, variant: Variant, task: RegimeTask, stream_dropout: float
) -> ModelConfig:
    """Widen B and head of a variant until it has about as many weights as the reference.

    Who reads A at its embedding, or not at all, leaves out layers of A, and may spend their
    weights.
    """
    reference = list_variants(name)[SETUPS[name].reference]
    bare = RegimeTask(task.num_regimes, task.vectors.shape[1], task.num_tokens, code=task.code)
    wanted = SHARE * count_weights(bare, configure(name, reference, stream_dropout))
    width = DIM
    while True:
        config = configure(name, variant, stream_dropout, width)
        if count_weights(task, config) >= wanted:
            return config
        width += WIDENING


def count_weights(task: RegimeTask, config: ModelConfig) -> int:
    """Count the weights of a model."""
    return count_parameters(build_model(task, config, seed=1))


def build_model(task: RegimeTask, config: ModelConfig, seed: int) -> MultimodalForecaster:
    """Build the shipped model."""
    schema = task.schema()
    return MultimodalForecaster(schema, config, {name: {} for name in schema.streams}, seed)
