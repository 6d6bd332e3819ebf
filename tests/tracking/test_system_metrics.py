"""The machine, watched beside a run."""

from __future__ import annotations

import threading
import time

import pytest

from mmts.tracking.run import TrackedRun
from mmts.tracking.system_metrics import SystemMetrics


class Recorder(TrackedRun):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__(None)
        self.taken: list[tuple[dict[str, float], int]] = []

    @property
    def is_tracked(self) -> bool:
        return True

    def log_metrics(self, metrics, step):  # type: ignore[no-untyped-def]
        self.taken.append((dict(metrics), step))


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "mmts-system"]


def test_cpu_and_memory_are_recorded_until_the_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST", "_EVERY"):
        monkeypatch.setattr(f"mmts.tracking.system_metrics.{name}", 0.01)
    run = Recorder()
    deadline = time.monotonic() + 20
    with SystemMetrics(run):
        while len(run.taken) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    while watchers():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert [step for _, step in run.taken[:3]] == [0, 1, 2]
    for metrics, _ in run.taken:
        assert all(name.startswith("system/") for name in metrics)
        assert metrics["system/process_memory_megabytes"] > 0
        assert 0 <= metrics["system/cpu_utilization_percentage"] <= 100
        assert 0 < metrics["system/system_memory_usage_percentage"] <= 100


def test_a_run_that_records_nothing_is_not_watched() -> None:
    with SystemMetrics(TrackedRun(None)):
        assert not watchers()
