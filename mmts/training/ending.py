"""How a training ends, whatever ends it: what its run and its log say then."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from mmts.errors import OutputError, TrainingError
from mmts.tracking.run import Status, TrackedRun
from mmts.tracking.training_page import record_error
from mmts.training.state import StateFile
from mmts.training.stopping import Stopped, StopSignals

logger = logging.getLogger(__name__)


@contextmanager
def run_ends(
    run: TrackedRun, folder: Path, file: StateFile | None, signals: StopSignals, has_others: bool
) -> Iterator[None]:
    """End a run in MLflow as what happens in the block does, and say why.

    file: of the state from which the training may go on. has_others: whether other processes train.
    Raises KeyboardInterrupt where a signal has ended it, and else what was raised, memory that ran
    out on a device as a TrainingError.
    """
    status: Status = "FAILED"
    try:
        yield
        signals.check()
        status = "FINISHED"
    except (Stopped, KeyboardInterrupt, SystemExit):
        # Lightning turns Ctrl-C into SystemExit, and leaves the process deaf to further ones.
        signals.listen()
        status = "KILLED"
        say_how_to_go_on(file)
        raise signals.interrupt() from None
    except OutputError as error:
        record_error(run, error)
        logger.info("stopped: %s keeps what was written before", folder)
        raise
    except torch.OutOfMemoryError as error:
        fault = _out_of_memory(error)
        record_error(run, fault)
        raise fault from None
    except Exception as error:  # Whatever it is: the run page says so, and it is raised again.
        if signals.noted is not None and has_others:
            # The signal has ended the others, and this process was waiting for one of them.
            status = "KILLED"
            say_how_to_go_on(file)
            raise signals.interrupt() from None
        record_error(run, error)
        raise
    finally:
        run.finish(status)


def say_how_to_go_on(file: StateFile | None) -> None:
    """Log by what command a training goes on that was stopped."""
    if file is None:
        # A trial, or a refit of a backtest: whoever asked for it tells how it goes on.
        logger.info("stopped")
    else:
        logger.info("stopped: `mmts train --resume %s` goes on from here", file.path.parent)


def _out_of_memory(error: torch.OutOfMemoryError) -> TrainingError:
    return TrainingError(
        f"the device is out of memory ({str(error).partition('. ')[0]}). Lower "
        "training.batch_size, set training.precision: bf16-mixed or training.cuda_graph: "
        "false, shorten context_length of the longest stream, or train on the CPU with "
        "training.accelerator: cpu."
    )
