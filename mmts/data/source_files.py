"""The files that a training reads, and whether they are those that they were."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from mmts.data.cache.tables import choose_cache, digest_source
from mmts.data.config import DataConfig
from mmts.data.reading.sources import find_files
from mmts.errors import DataError


def stream_paths(config: DataConfig) -> dict[str, Path]:
    """Return the file, folder or pattern of each stream that is read."""
    return {
        name: Path(config.root) / stream.path
        for name, stream in config.streams.items()
        if stream.path is not None
    }


def fingerprint(config: DataConfig) -> dict[str, str]:
    """Return the SHA-256 of what each stream was read from."""
    sources = stream_paths(config)
    cache = choose_cache(config, sources)
    return {
        name: digest_source(path, config.streams[name].item_from, cache)
        for name, path in sources.items()
    }


def file_stamps(config: DataConfig) -> dict[str, list[tuple[str, int, int, int]]]:
    """Return what tells whether a file was written since: name, size, time and place on the disk.

    Of the files of each stream, as far as they are there.
    """
    found: dict[str, list[tuple[str, int, int, int]]] = {}
    for name, path in stream_paths(config).items():
        with suppress(DataError, OSError):
            files = [(file, file.stat()) for file in find_files(path)]
            found[name] = [
                (str(file), stat.st_size, stat.st_mtime_ns, stat.st_ino) for file, stat in files
            ]
    return found
