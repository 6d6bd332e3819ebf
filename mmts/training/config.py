"""Settings of the training."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from mmts.config_base import Config, Duration


class TrainingConfig(Config):
    """How the weights are found."""

    max_epochs: int = Field(20, gt=0, description="Passes over the training windows at most.")
    patience: int = Field(
        5, gt=0, description="Epochs without a better validation loss after which training stops."
    )
    batch_size: int = Field(
        256, gt=0, description="Windows per optimiser step, of all devices together."
    )
    steps_per_epoch: int | None = Field(
        None,
        gt=0,
        description="Optimiser steps after which an epoch ends, each epoch taking other windows; "
        "by default when all windows were seen.",
    )
    recent: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the train windows, the latest, that training reads. Fewer than all "
        "may do better where what the target does has changed for good.",
    )
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate of AdamW.")
    weight_decay: float = Field(1e-2, ge=0, description="Decoupled weight decay of AdamW.")
    warmup_fraction: float = Field(
        0.1, ge=0, lt=1, description="Share of all steps over which the learning rate rises."
    )
    weight_averaging: int | None = Field(
        8,
        ge=0,
        description="Validated and kept is a mean of the weights over about the last n / "
        "(weight_averaging + 1) of n steps; null keeps the weights of the last step alone.",
    )
    shrinkage: bool = Field(
        True,
        description="Whether a forecast goes only as far from the linear path to what the whole "
        "model says as validation finds worth it: its median or mean, and the distances of its "
        "other quantiles from there, each by quarters of the way. Of the median (or mean) each "
        "quarter has to gain more than the one before: the first .13 % of the loss, the last .9 %.",
    )
    gradient_clip: float | None = Field(
        1.0, gt=0, description="Largest norm of the gradient; null switches clipping off."
    )
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = Field(
        "auto", description="Device to train on; auto takes a GPU when there is one."
    )
    devices: int = Field(
        1,
        gt=0,
        description="Processes that train together, each on a device of its own: a GPU, or a part "
        "of the CPU's cores. They split each batch, so that batch_size must be a multiple.",
    )
    precision: Literal["32-true", "bf16-mixed"] = Field(
        "32-true", description="Arithmetic of the training; bf16-mixed is faster on recent GPUs."
    )
    compile: bool = Field(
        False,
        description="Whether the model is compiled: takes a minute at first and pays in long "
        "trainings on a GPU; small models on a CPU may become slower.",
    )
    cuda_graph: bool | None = Field(
        None,
        description="Whether a step on a GPU is recorded once, as a CUDA graph, and then played "
        "back: several times as fast for all but large models, for the memory of one more step. By "
        "default in a training by one process of kinds that are built in. `true` also records "
        "kinds of your own, in which each step must do the same to its tensors.",
    )
    keep_state_every: Duration = Field(
        timedelta(minutes=1),
        description="Time after which a long epoch writes down how far it is, for `mmts train "
        "--resume`, at the end of a round of 16 steps (4, where several processes train); its end "
        "does so too. A training that is killed loses no more; never more than 2 % of the time "
        "goes into it.",
        # pydantic would write it as ISO 8601 does, which is refused here.
        json_schema_extra={"default": "1min"},
    )
    log_every_n_steps: int = Field(
        50, gt=0, description="Steps between two values of the training loss in the log."
    )
