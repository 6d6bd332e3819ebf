"""Steps of a training on a GPU, recorded once and then played back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from mmts.data.batch import Batch
from mmts.errors import TrainingError
from mmts.gpu_lock import RECORDING
from mmts.training.optimisation import Optimisation

NUM_BEFORE = 3
"""Steps that are taken before one is recorded: in these torch chooses its ways of calculating,
compiles where it is asked to, and makes what the optimiser keeps."""

Taken = tuple[Tensor, Tensor]
"""What a step returns: its loss and the norm of its gradients, () each."""


class Recording(Protocol):
    """A step that can be played back."""

    def play(self) -> Taken:
        """Take the step again on what lies in its batch by now; what it returns is overwritten."""


class CudaGraph:
    """A step as a CUDA graph, which the GPU takes as a whole (`torch.cuda.CUDAGraph`)."""

    def __init__(self, take: Callable[[], Taken]) -> None:
        """Record a step, which is not taken; raises TrainingError where it cannot be."""
        self.graph = torch.cuda.CUDAGraph()
        try:
            with RECORDING, torch.cuda.graph(self.graph):
                self.taken = take()
        except RuntimeError as error:
            # That of the end of the recording says only that something failed before.
            cause = error.__context__ or error
            if not isinstance(cause, Exception) or isinstance(cause, torch.OutOfMemoryError):
                raise cause from None
            said = str(cause).partition("\n")[0]
            raise TrainingError(
                f"a training step cannot be recorded as a CUDA graph ({said}). A kind of your "
                "own may look at a value on the host, or copy one from there. Set "
                "training.cuda_graph: false to train without a recording."
            ) from error

    def play(self) -> Taken:
        """Take the step again."""
        self.graph.replay()
        return self.taken


class RecordedSteps:
    """Takes steps as an `Optimisation` does, but most of them by playing one back.

    A step is very many small calculations. To ask a GPU for each takes longer than most of them,
    so that it would be idle for most of the time. A batch of another shape than the recorded one,
    as the last of an epoch, is gone through calculation by calculation. What is drawn is the same
    either way: it depends on the seed that the device has when a step begins.
    """

    def __init__(
        self, optimisation: Optimisation, record: Callable[[Callable[[], Taken]], Recording]
    ) -> None:
        """Take the steps of an optimisation; record: records one, as `CudaGraph`."""
        self.optimisation = optimisation
        self.record = record
        self.recording: Recording | None = None
        self.batch: Batch | None = None
        """What the recorded step reads."""
        self.num_before = 0

    def take(self, batch: Batch, step: int) -> Taken:
        """Take a step, counted from 0; returns its loss and the norm of its gradients."""
        if self.batch is None or (self.recording is None and len(batch) > len(self.batch)):
            # The first batch is as large as any, unless a training goes on at the end of an epoch.
            self.batch, self.num_before = batch.map(torch.clone), 0
        if [t.shape for t in batch.tensors] != [t.shape for t in self.batch.tensors]:
            return self.optimisation.take(batch, step)
        copy_batch(batch, self.batch)
        if self.num_before < NUM_BEFORE:
            # On what is recorded afterwards, so that nothing is compiled anew then.
            self.num_before += 1
            return self.optimisation.take(self.batch, step)
        self.optimisation.prepare(step)
        if self.recording is None:
            static = self.batch
            self.recording = self.record(lambda: self.optimisation.go(static))
        loss, norm = self.recording.play()
        return loss.clone(), norm.clone()


def copy_batch(batch: Batch, into: Batch) -> None:
    """Copy all that a batch holds into one of the same shapes."""
    pairs = list(zip(into.tensors, batch.tensors, strict=True))
    # Those of one kind together are copied by one call.
    for is_bool in (False, True):
        some = [pair for pair in pairs if (pair[0].dtype == torch.bool) == is_bool]
        torch._foreach_copy_([place for place, _ in some], [tensor for _, tensor in some])
