"""No step waits for the device, as far as that can be told without a GPU.

On the meta device tensors hold nothing: whoever wants to know a value there fails, and what is
copied to it from the host can be seen. Either would make the host wait for a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from mmts.checkpoint import build_model
from mmts.config import load_config
from mmts.data.batch import Batch
from mmts.data.dataset import load_dataset
from mmts.data.gathering import WindowGatherer
from mmts.encoders.kinds import ENCODER_KINDS
from mmts.interactions.kinds import list_kinds
from mmts.training.config import TrainingConfig
from mmts.training.optimisation import Optimisation
from tests.factories import ENCODERS, with_edges, with_encoder

META = torch.device("meta")


class Copies(TorchFunctionMode):
    """Notes what is copied from the host to the device: tensors, and lists of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(
        self, function: Any, _: Any, arguments: Sequence[Any] = (), named: Any = None
    ) -> Any:
        result = function(*arguments, **(named or {}))
        given = tree_leaves((arguments, named))
        # One number is an argument of the call, as a slice is.
        from_host = [x for x in given if isinstance(x, Tensor) and x.device != META and x.ndim]
        makes = function in (torch.tensor, torch.as_tensor)
        is_there = isinstance(result, Tensor) and result.device == META
        if (is_there and (makes or from_host)) or _indexes_by_a_list(function, arguments):
            self.found.append(f"{function}{arguments[1:]}")
        return result


def _indexes_by_a_list(function: Any, arguments: Sequence[Any]) -> bool:
    if function not in (Tensor.__getitem__, Tensor.__setitem__) or arguments[0].device != META:
        return False
    index = arguments[1] if isinstance(arguments[1], tuple) else (arguments[1],)
    return any(isinstance(one, list) for one in index)


def on_meta(thing: Any) -> Any:
    """Move all tensors that a thing holds."""
    if isinstance(thing, Tensor):
        return thing.to(META)
    if isinstance(thing, dict):
        return {key: on_meta(value) for key, value in thing.items()}
    if is_dataclass(thing) and not isinstance(thing, type):
        held = {field.name: on_meta(getattr(thing, field.name)) for field in fields(thing)}
        return replace(thing, **held)
    return thing


@pytest.fixture
def windows(world: Path) -> WindowGatherer:
    return load_dataset(load_config(world).data).windows("train")


@pytest.fixture
def batch(windows: WindowGatherer) -> Batch:
    return windows.gather(torch.arange(8))


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.linear={reads: all, units: both}", "model.window_normalization=true"],
        *(with_encoder(encoder) for encoder in ENCODERS),
        *(with_edges(kind) for kind in list_kinds()),
    ],
    ids=["linear", *(encoder["kind"] for encoder in ENCODERS), *list_kinds()],
)
def test_neither_forward_nor_backward_waits_for_the_device(
    overrides: list[str], world: Path
) -> None:
    config = load_config(world, overrides)
    dataset = load_dataset(config.data)
    model = build_model(config, dataset.schema, dataset.scaling).train().to(META)
    batch = on_meta(dataset.windows("train").gather(torch.arange(8)))
    optimisation = Optimisation(model, TrainingConfig(), num_steps=1)
    with Copies() as copies:
        optimisation.loss(batch).backward()
    assert not copies.found


def test_each_kind_of_encoder_is_among_those_that_must_not_wait() -> None:
    assert {encoder["kind"] for encoder in ENCODERS} == {*ENCODER_KINDS.built_in} - {"text"}


def test_gathering_does_not_wait_for_the_device(windows: WindowGatherer) -> None:
    prepared = {name: on_meta(source) for name, source in windows._sources.items()}
    target, there = (
        on_meta(windows._target),
        WindowGatherer(windows.schema, windows.streams, on_meta(windows.windows)),
    )
    there.__dict__ |= {"_sources": prepared, "_target": target}
    with Copies() as copies:
        (found,) = there.batches(8, torch.arange(8, device=META))
    assert not copies.found
    assert found.target.device == META


def test_an_index_of_python_numbers_would_be_seen(batch: Batch) -> None:
    values = batch.target.to(META)
    with Copies() as copies:
        values[..., [0]]
    assert len(copies.found) == 1


def test_a_look_at_a_value_would_be_seen(batch: Batch) -> None:
    with pytest.raises(RuntimeError, match="meta tensor"):
        float(batch.target.to(META).sum())
