"""One step down the gradient: what every training does, with Lightning or without."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from einops import rearrange
from torch import Tensor, nn

from mmts.data.batch import Batch
from mmts.losses import masked_mean
from mmts.model import MultimodalForecaster
from mmts.training.averaging import WeightAverage
from mmts.training.config import TrainingConfig
from mmts.training.processes import ALONE, Processes
from mmts.training.running_means import RunningMeans
from mmts.training.step_number import StepNumber


def part_weights(weights: Iterable[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Return those that decay and those that do not, in the order of the optimiser."""
    weights = list(weights)
    return [w for w in weights if w.ndim >= 2], [w for w in weights if w.ndim < 2]


class Optimisation:
    """AdamW (arXiv 1711.05101) with linear warm-up and cosine decay over a known number of steps.

    Nothing in a step waits for the device.
    """

    def __init__(
        self,
        model: MultimodalForecaster,
        config: TrainingConfig,
        num_steps: int,
        processes: Processes = ALONE,
        backward: Callable[[Tensor], None] = Tensor.backward,
    ) -> None:
        """Prepare for a model where it lies; num_steps: after which the rate is zero.

        backward: finds the gradients of a loss.
        """
        self.processes = processes
        self.backward = backward
        self.running_means = RunningMeans(model, processes)
        self.head = model.head
        self.forward = _compiled(model) if config.compile else model
        self.clip = config.gradient_clip
        self.peak = config.learning_rate
        self.num_steps = num_steps
        self.num_warmup = max(1, round(config.warmup_fraction * num_steps))
        self.weights = [p for p in model.parameters() if p.requires_grad]
        decayed, free = part_weights(self.weights)
        device = self.weights[0].device
        self.rate = StepNumber(device)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": config.weight_decay},
                {"params": free, "weight_decay": 0.0},
            ],
            lr=self.peak,
            # All weights in one call: small ones are many, and each call costs.
            fused=True,
            capturable=device.type == "cuda",
        )
        order = config.weight_averaging
        self.average = None if order is None else WeightAverage(self.weights, order)

    def learning_rate(self, step: int) -> float:
        """Return the rate of a step, counted from 0."""
        if step < self.num_warmup:
            return self.peak * (step + 1) / self.num_warmup
        progress = (step - self.num_warmup) / max(1, self.num_steps - self.num_warmup)
        return self.peak * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean loss over the observed values of a batch, ().

        Of several processes each has a part of the batch; the mean of what they return is that
        over the observed values of all parts, and so is the mean of their gradients.
        """
        losses = self.head.loss(self.forward(batch), batch.target)
        observed, num_processes = batch.target_observed, self.processes.count
        if num_processes == 1:
            return masked_mean(losses, observed)
        # Not the mean of each part, as one may hold fewer observed values than another.
        count = self.processes.add_up(observed.sum()).clamp(min=1) / num_processes
        return masked_mean(losses, observed, count)

    def take(self, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
        """Take a whole step, counted from 0.

        Returns its loss, and the norm that its gradients had before they were clipped, () each.
        """
        self.prepare(step)
        return self.go(batch)

    def prepare(self, step: int) -> None:
        """Set what is another number in each step, counted from 0."""
        self.rate.set(self.learning_rate(step))
        if self.average is not None:
            self.average.prepare(step)

    def go(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Take the step that was prepared; returns what `take` does."""
        loss = self.loss(batch)
        self.backward(loss)
        return loss.detach(), self.descend()

    def descend(self, step: int | None = None) -> Tensor:
        """Take the step whose gradients are there, and clear them.

        step: counted from 0; None for the one that was prepared.
        Returns the norm that the gradients had, (), before they were clipped.
        """
        if step is not None:
            self.prepare(step)
        # Where they are not to be clipped, the norm alone is asked for.
        limit = math.inf if self.clip is None else self.clip
        norm = nn.utils.clip_grad_norm_(self.weights, limit, foreach=True)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate.value
        self.optimizer.step()
        # A round is one autocast context, where weights cast to bf16 would be those of its first
        # step, but that newer Lightning casts them each time.
        torch.clear_autocast_cache()
        if self.average is not None:
            self.average.update()
        self.optimizer.zero_grad()
        self.running_means.even_out()
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """Return what the next step depends on besides the weights, where it lies."""
        found = {
            f"optimizer/{place}/{name}": tensor
            for place, state in self.optimizer.state_dict()["state"].items()
            for name, tensor in state.items()
        }
        if self.average is not None:
            found |= {f"average/{place}": mean for place, mean in enumerate(self.average.mean)}
        return found

    def take_up(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on where `tensors` were taken; others among them are left alone."""
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            part, _, rest = name.partition("/")
            if part == "optimizer":
                place, _, moment = rest.partition("/")
                state.setdefault(int(place), {})[moment] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        if self.average is not None:
            self.average.take_up([tensors[f"average/{n}"] for n in range(len(self.weights))])


def _compiled(model: nn.Module) -> Callable[[Batch], Tensor]:
    # Einops keeps a list of the types it has met. Whatever was compiled before one of them came
    # would be compiled again.
    for known in (torch.zeros(1), nn.Parameter(torch.zeros(1))):
        rearrange(known, "one -> one")
    # Shapes differ for the last batch of an epoch alone, which is worth a graph of its own.
    return torch.compile(model, dynamic=False)
