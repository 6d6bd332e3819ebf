"""How busy the machine is while a run goes on."""

from __future__ import annotations

import logging
import threading
from types import TracebackType

from mmts.gpu_lock import RECORDING
from mmts.tracking.run import TrackedRun

_FIRST = 2.0
"""Seconds until the machine is looked at for the first time, so that a short run has a value."""

_EVERY = 10.0
_MEGABYTE = 1e6

logger = logging.getLogger(__name__)


class SystemMetrics:
    """Records CPU and memory of this process and of the machine, and of a GPU that is in use.

    Under names that make the MLflow UI show them on a page of their own, `system/...`. It is done
    in a thread, every ten seconds, and takes it about a millisecond.
    """

    def __init__(self, run: TrackedRun) -> None:
        """Take the run; where that records nothing, the machine is not looked at either."""
        self.run = run
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="mmts-system", daemon=True)

    def __enter__(self) -> SystemMetrics:
        """Begin to watch."""
        if self.run.is_tracked:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop watching."""
        self._ends.set()

    def _watch(self) -> None:
        import psutil

        try:
            meter = _Meter()
            wait, step = _FIRST, self.run.next_step("system/process_memory_megabytes")
            while not self._ends.wait(wait):
                self.run.log_metrics(meter.read(), step)
                wait, step = _EVERY, step + 1
        except (OSError, psutil.Error) as error:
            # A container may hide what goes on in it.
            logger.debug("the machine cannot be watched: %s", error)


class _Meter:
    """Reads what has gone on since the last time."""

    def __init__(self) -> None:
        import psutil

        self.process = psutil.Process()
        self.cores = psutil.cpu_count() or 1
        self.tells_load = True
        # The first answer is about nothing, and is thrown away.
        psutil.cpu_percent()
        self.process.cpu_percent()

    def read(self) -> dict[str, float]:
        import psutil

        memory = psutil.virtual_memory()
        return {
            "system/cpu_utilization_percentage": psutil.cpu_percent(),
            "system/process_cpu_percentage": self.process.cpu_percent() / self.cores,
            "system/system_memory_usage_megabytes": memory.used / _MEGABYTE,
            "system/system_memory_usage_percentage": memory.percent,
            "system/process_memory_megabytes": self.process.memory_info().rss / _MEGABYTE,
            **self._read_gpu(),
        }

    def _read_gpu(self) -> dict[str, float]:
        import torch

        # Torch types only a part of this module.
        if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            return {}
        # For as long as a step is recorded, a moment.
        with RECORDING:
            return self._ask_gpu()

    def _ask_gpu(self) -> dict[str, float]:
        import torch

        place = torch.cuda.current_device()
        # None of these waits for the device.
        free, total = torch.cuda.mem_get_info(place)
        found = {
            f"system/gpu_{place}_memory_usage_megabytes": (total - free) / _MEGABYTE,
            f"system/gpu_{place}_memory_usage_percentage": 100 * (total - free) / total,
        }
        if self.tells_load:
            try:
                load = float(torch.cuda.utilization(place))
                found[f"system/gpu_{place}_utilization_percentage"] = load
            except (ImportError, RuntimeError):
                # Torch asks a library for that, nvidia-ml-py, which need not be here.
                self.tells_load = False
        return found
