"""One lock for who must not ask the GPU anything at the same time."""

from threading import Lock

RECORDING = Lock()
"""Held while a step is recorded as a CUDA graph, which a call of another thread might spoil."""
