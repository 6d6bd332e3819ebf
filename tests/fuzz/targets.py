"""What is fuzzed: the doors through which a stranger's bytes come in.

Each function takes any bytes. It may refuse them in words, which is an MmtsError; anything else
that it raises is a fault of ours.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from safetensors.torch import load_file
from torch import Tensor

from mmts.checkpoint import load_checkpoint
from mmts.checkpoint_file import write_checkpoint_file
from mmts.config import load_config
from mmts.data.config import StreamConfig
from mmts.data.reading import formats
from mmts.data.reading.reader import choose_columns, read_table
from mmts.errors import MmtsError
from tests.fuzz.parquet_tables import Impossible, write_table

FEW_FORMATS = formats.FORMATS[::97]
"""To look for the way in which one cell writes a time takes longer than all else: a few ways do."""

CORPUS = Path(__file__).parent / "corpus"

STREAMS = (
    {"time": "time", "item": "item"},
    {"time": "time", "item": "item", "category": ["word"], "flag": ["flag"], "past": ["number"]},
    {"time": "time", "past": ["number"], "decimal": ",", "duplicates": "mean"},
    {"time": "time", "past": ["number"], "thousands": ",", "missing_values": [-999, "n/a"]},
    {"time": "time", "past": ["number"], "time_format": "unix_s"},
    {"time": "time", "past": ["number"], "time_format": "%d.%m.%Y %H:%M", "time_zone": "Japan"},
    {"time": "time", "text": ["word"], "available_at": "known"},
    {"item": "item", "static": ["number", "word"], "category": ["word"]},
    {"time": "time", "past": ["number"], "encoding": "utf-16-le"},
    {"time": "time", "past": ["number"], "encoding": "latin-1", "time_zone": "Europe/Berlin"},
)  # fmt: skip
NAMES = (".csv", ".csv.gz", ".csv.zip", ".csv.xz", ".csv.bz2", ".parquet")


def read_csv(data: bytes) -> None:
    """Read a table: the first two bytes choose how, and the rest is the file."""
    if len(data) < 2:
        return
    path = _place(f"table{NAMES[data[0] % len(NAMES)]}")
    path.write_bytes(data[2:])
    _read_table(path, data[1])


def read_parquet(data: bytes) -> None:
    """Read a Parquet file, as it is described."""
    described = _as_description(data)
    path = _place("table.parquet")
    if described is None:
        return
    try:
        write_table(described, path)
        way = int(described.get("stream", 0))
    except (Impossible, ValueError, TypeError, OverflowError):
        return
    _read_table(path, way)


def _read_table(path: Path, way: int) -> None:
    stream = StreamConfig.model_validate({"path": "x", **STREAMS[way % len(STREAMS)]})
    try:
        with patch.object(formats, "FORMATS", FEW_FORMATS):
            # Chunks so small that records, letters and quotes lie across their ends.
            read_table(path, stream, choose_columns(path, stream), chunk_size=24)
    except MmtsError as error:
        require_words(error)


def read_yaml(data: bytes) -> None:
    """Read a config."""
    path = _place("config.yaml")
    path.write_bytes(data)
    try:
        config = load_config(path)
    except MmtsError as error:
        require_words(error)
        return
    path.write_text(config.to_yaml())
    assert load_config(path) == config


def read_checkpoint(data: bytes) -> None:
    """Read a checkpoint: a file as it is, or a description put beside the weights of a true one."""
    path = _place("fuzzed.mmts")
    if data[:1] == b"{":
        description = _as_description(data)
        if description is None:
            return
        try:
            write_checkpoint_file(path, description, _true_weights())
        except ValueError:  # what JSON cannot say, such as NaN
            return
    else:
        path.write_bytes(data)
    try:
        load_checkpoint(path)
    except MmtsError as error:
        require_words(error)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "csv": read_csv,
    "parquet": read_parquet,
    "yaml": read_yaml,
    "checkpoint": read_checkpoint,
}


def require_words(error: MmtsError) -> None:
    """Hold that a message says where and can be written down."""
    said = str(error)
    assert said.strip()
    said.encode()


def _as_description(data: bytes) -> dict[str, Any] | None:
    try:
        description = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return description if isinstance(description, dict) else None


@cache
def _true_weights() -> dict[str, Tensor]:
    return load_file(CORPUS / "checkpoint/small.mmts")


def _place(name: str) -> Path:
    return _folder() / name


@cache
def _folder() -> Path:
    # In memory where there is such a place: millions of files are written here.
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    return Path(tempfile.mkdtemp(prefix="mmts-fuzz-", dir=parent))
