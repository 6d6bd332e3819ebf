"""Steps that are recorded once and played back, as far as that can be seen without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmts.config import load_config
from mmts.data.batch import Batch
from mmts.data.dataset import load_dataset
from mmts.training.fitting import may_record
from mmts.training.linear_start import start_model
from mmts.training.loader import ShuffledBatches
from mmts.training.optimisation import Optimisation
from mmts.training.processes import Processes
from mmts.training.recording import NUM_BEFORE, RecordedSteps, Taken, copy_batch

ONE, TWO = Processes(), Processes(count=2, local_count=2)


class Repetition:
    """Stands in for a CUDA graph: goes through the recorded calculations again when it is played.

    As a graph does, it returns what it returned before, in the same memory.
    """

    def __init__(self, take: Callable[[], Taken]) -> None:
        self.step = take
        self.taken = (torch.zeros(()), torch.zeros(()))
        self.num_plays = 0

    def play(self) -> Taken:
        self.num_plays += 1
        for place, value in zip(self.taken, self.step(), strict=True):
            place.copy_(value)
        return self.taken


class Training:
    """A model, the batches of its first epoch, and how its steps are taken."""

    def __init__(self, world: Path) -> None:
        config = load_config(world, ["training.batch_size=16"])
        dataset = load_dataset(config.data)
        self.batches = list(ShuffledBatches(dataset.windows("train"), 16, seed=1, epoch=0))
        _, model = start_model(config, dataset)
        self.model = model.train()
        self.optimisation = Optimisation(self.model, config.training, num_steps=100)

    def run(self, take: Callable[[Batch, int], Taken]) -> list[Taken]:
        """Take the steps of the epoch; returns losses and norms."""
        found = []
        for step, batch in enumerate(self.batches):
            torch.manual_seed(step)
            found.append(take(batch, step))
        return found


def test_steps_played_back_are_the_steps_of_the_batches_that_are_given(world: Path) -> None:
    plain, played = Training(world), Training(world)
    recordings: list[Repetition] = []

    def record(take: Callable[[], Taken]) -> Repetition:
        recordings.append(Repetition(take))
        return recordings[-1]

    expected = plain.run(plain.optimisation.take)
    found = played.run(RecordedSteps(played.optimisation, record).take)
    # The last batch is smaller.
    assert len(plain.batches[-1]) < len(plain.batches[0])
    (recording,) = recordings
    assert recording.num_plays == len(plain.batches) - 1 - NUM_BEFORE > 1
    assert torch.equal(torch.tensor(found), torch.tensor(expected))
    weights = played.model.state_dict()
    for name, weight in plain.model.state_dict().items():
        assert torch.equal(weight, weights[name]), name


def test_a_training_that_goes_on_at_the_end_of_an_epoch_records_a_whole_batch(world: Path) -> None:
    training = Training(world)
    recordings: list[Repetition] = []

    def record(take: Callable[[], Taken]) -> Repetition:
        recordings.append(Repetition(take))
        return recordings[-1]

    steps = RecordedSteps(training.optimisation, record)
    training.batches = [training.batches[-1], *training.batches]
    training.run(steps.take)
    assert len(recordings) == 1
    assert steps.batch is not None
    assert len(steps.batch) == 16
    assert recordings[0].num_plays == len(training.batches) - 2 - NUM_BEFORE


def test_a_copied_batch_holds_all_that_the_other_holds(world: Path) -> None:
    dataset = load_dataset(load_config(world).data)
    one, other = (dataset.windows("train").gather(torch.arange(n, n + 4)) for n in (0, 50))
    place = one.map(torch.clone)
    memory = [tensor.data_ptr() for tensor in place.tensors]
    copy_batch(other, place)
    assert [tensor.data_ptr() for tensor in place.tensors] == memory
    assert all(map(torch.equal, place.tensors, other.tensors))
    assert not all(map(torch.equal, place.tensors, one.tensors))


def test_a_batch_lists_every_tensor_that_it_holds(world: Path) -> None:
    batch = load_dataset(load_config(world).data).windows("train").gather(torch.arange(3))
    listed = {id(tensor) for tensor in batch.tensors}
    for holder in (*batch.streams.values(), batch):
        assert all(id(held) in listed for held in vars(holder).values() if isinstance(held, Tensor))
    assert len(batch.tensors) == 5 * len(batch.streams) + 3


@pytest.mark.parametrize(
    ("asked", "processes", "is_own", "expected"),
    [
        (None, ONE, False, True),
        (None, ONE, True, False),
        (None, TWO, False, False),
        (True, ONE, True, True),
        (False, ONE, False, False),
    ],
)
def test_what_may_differ_from_step_to_step_is_recorded_only_where_it_is_asked_for(
    asked: bool | None,
    processes: Processes,
    is_own: bool,
    expected: bool,
    world: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = load_config(world)
    training = config.training.model_copy(update={"cuda_graph": asked})
    monkeypatch.setattr("mmts.training.fitting.own_kinds", lambda _: ("somebody",) * is_own)
    assert may_record(config.model_copy(update={"training": training}), processes) == expected
