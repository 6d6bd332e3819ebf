"""What processes have in common that work for one which began them."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Let this process end, wherever it is, once the one that began it is gone."""
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def say_end(code: int) -> str:
    """Say how a process ended, by its exit code."""
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
