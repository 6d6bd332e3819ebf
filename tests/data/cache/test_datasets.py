"""Large files: parsed once, mapped from then on, and never read from a stale or broken cache."""

from __future__ import annotations

import gzip
import logging
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pandas as pd
import pytest
import torch

from mmts.config import load_config
from mmts.data import dataset as dataset_module
from mmts.data.cache import tables as table_cache
from mmts.data.cache.entries import EntryCache
from mmts.data.cache.tables import digest_source, load_table
from mmts.data.config import DataConfig, StreamConfig
from mmts.data.dataset import Dataset, load_dataset, load_streams
from mmts.data.schema import ColumnSchema
from mmts.data.source_files import fingerprint
from mmts.errors import DataError
from mmts.evaluation import load_evaluation_data
from mmts.training import assignment
from mmts.training.assignment import read_training_data
from tests.factories import make_frames, make_settings, write_config, write_frames

if TYPE_CHECKING:
    from mmts.checkpoint import CheckpointInfo


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    """Return a config that always uses a cache of its own; its world has prose and flags."""
    frames, settings = make_frames(), make_settings()
    words = ["storm ahead", "calm and dry", "storm over", "dry"]
    texts = [words[day % len(words)] for day in range(len(frames["news"]))]
    frames["news"] = frames["news"].assign(body=texts, late=frames["news"]["time"])
    settings["data"]["streams"]["news"] |= {
        "past": ["mood"], "text": ["body"], "text_features": {"kind": "tfidf", "dim": 2},
        "available_at": "late", "delay": "30h",
    }  # fmt: skip
    settings["data"] |= {"cache": "always", "cache_folder": str(tmp_path / "cache")}
    write_frames(tmp_path, frames)
    return write_config(tmp_path, settings)


def load(path: Path, *overrides: str) -> Dataset:
    return load_dataset(load_config(path, overrides).data)


def forbid(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError(f"{name} was called")

    monkeypatch.setattr(module, name, refuse)


def assert_same(one: Dataset, other: Dataset) -> None:
    assert one.schema == other.schema
    assert one.split == other.split
    assert one.items == other.items
    for split in ("train", "validation", "test"):
        ours, theirs = one.windows(split), other.windows(split)
        assert torch.equal(ours.windows.origins, theirs.windows.origins)
        chosen = torch.arange(0, len(ours), 7)
        mine, yours = ours.gather(chosen), theirs.gather(chosen)
        assert torch.equal(mine.target, yours.target)
        for name, window in mine.streams.items():
            assert torch.equal(window.values, yours.streams[name].values)
            assert torch.equal(window.observed, yours.streams[name].observed)
            assert torch.equal(window.available, yours.streams[name].available)


def test_a_mapped_data_set_is_the_one_in_memory(config_path: Path) -> None:
    plain = load(config_path, "data.cache=never")
    assert_same(load(config_path), plain)
    assert_same(load(config_path), plain)


def test_the_second_start_reads_neither_files_nor_tables(
    config_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(config_path)
    forbid(monkeypatch, table_cache, "read_table")
    forbid(monkeypatch, dataset_module, "load_table")
    assert_same(load(config_path), first)


def test_other_windows_of_the_same_files_need_no_parsing(
    config_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(config_path)
    forbid(monkeypatch, table_cache, "read_table")
    longer = load(config_path, "data.horizon=12h", "data.streams.weather.context_length=24h")
    assert longer.schema.horizon == 12


def test_a_changed_file_is_read_anew(config_path: Path) -> None:
    before = load(config_path)
    frames = make_frames()
    frames["weather"]["wind"] += 1
    write_frames(config_path.parent, {"weather": frames["weather"]})
    after = load(config_path)
    moved = after.scaling["weather"].numbers["wind"].mean
    assert moved == pytest.approx(before.scaling["weather"].numbers["wind"].mean + 1)


def test_another_way_of_reading_is_another_table(config_path: Path) -> None:
    load(config_path)
    windy = load(config_path, "data.streams.weather.valid_range={wind: [null, 3]}")
    assert windy.streams["weather"].observed_share() < 0.9


def test_a_broken_cache_is_made_anew(
    config_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = load(config_path, "data.cache=never")
    load(config_path)
    for entry in (tmp_path / "cache").iterdir():
        for array in entry.glob("*.npy"):
            array.write_bytes(array.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING, logger="mmts"):
        assert_same(load(config_path), plain)
    assert "damaged entry" in caplog.text


def test_a_cache_that_cannot_be_written_costs_a_warning(
    config_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    with caplog.at_level(logging.WARNING, logger="mmts"):
        found = load(config_path, f"data.cache_folder={tmp_path / 'file'}")
    assert "going on without a cache" in caplog.text
    assert_same(found, load(config_path, "data.cache=never"))


def test_what_was_repaired_is_said_the_second_time_too(
    config_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = make_frames()
    weather = pd.concat([frames["weather"], frames["weather"].iloc[[3]]])
    write_frames(config_path.parent, {"weather": weather})
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="mmts"):
            load(config_path, "data.streams.weather.duplicates=mean")
        assert "weather.csv" in caplog.text
        assert "kept the mean" in caplog.text


def test_what_nobody_asked_to_hear_at_first_is_said_later(
    config_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ranges = "data.streams.weather.valid_range={temperature: [0, 12]}"
    with caplog.at_level(logging.WARNING, logger="mmts"):
        load(config_path, ranges)
    assert "valid_range" not in caplog.text
    with caplog.at_level(logging.INFO, logger="mmts"):
        load(config_path, ranges)
    assert caplog.text.count("outside of valid_range") == 1


def test_what_is_said_while_data_are_laid_out_is_said_once(
    config_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="mmts"):
        load(config_path, "data.streams.weather.valid_range={temperature: [0, 12]}")
    assert caplog.text.count("outside of valid_range") == 1
    log = logging.getLogger("mmts.data")
    assert (log.level, log.propagate, log.handlers) == (logging.NOTSET, True, [])


def test_small_files_are_not_kept(config_path: Path, tmp_path: Path) -> None:
    load(config_path, "data.cache=auto")
    assert not (tmp_path / "cache").exists()


def test_a_packed_file_counts_as_what_it_unpacks_to(
    config_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = config_path.parent / "load.csv.gz"
    packed.write_bytes(gzip.compress((config_path.parent / "load.csv").read_bytes()))
    (config_path.parent / "load.csv").unlink()
    size, others = packed.stat().st_size, config_path.parent.glob("*.csv")
    assert max(file.stat().st_size for file in others) < 5 * size
    for at_least, is_kept in ((7 * size, False), (5 * size, True)):
        monkeypatch.setattr(table_cache, "MIN_BYTES", at_least)
        load(config_path, "data.cache=auto", "data.streams.load.path=load.csv.gz")
        assert (tmp_path / "cache").exists() == is_kept


def test_the_fingerprint_is_the_digest_of_the_file(config_path: Path) -> None:
    import hashlib

    expected = hashlib.sha256((config_path.parent / "load.csv").read_bytes()).hexdigest()
    for cache in ("never", "always"):
        found = fingerprint(load_config(config_path, [f"data.cache={cache}"]).data)
        assert found["load"] == expected


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks Linux what is mapped")
def test_windows_are_read_from_the_map(config_path: Path, tmp_path: Path) -> None:
    load(config_path)
    found = load(config_path)
    assert str(tmp_path / "cache") in Path("/proc/self/maps").read_text()
    assert len(found.windows("train")) > 0


def test_the_name_of_a_file_counts_where_it_names_the_item(tmp_path: Path) -> None:
    for name in ("north", "south"):
        (tmp_path / f"{name}.csv").write_text("time,a\n2024-01-01,1\n2024-01-02,2\n")
    cache = EntryCache(tmp_path / "cache")
    columns = (ColumnSchema(name="a", role="past", type="number"),)
    stream = StreamConfig(path="x", time="time", item_from="file_name")
    for name in ("north", "south"):
        table = load_table(tmp_path / f"{name}.csv", stream, columns, cache)
        assert table.items == (name,)


def test_a_folder_of_files_may_move(tmp_path: Path) -> None:
    digests = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        for name in ("a", "b"):
            (tmp_path / place / f"{name}.csv").write_text(f"time,{name}\n")
        digests += [
            digest_source(tmp_path / place, "column", None),
            digest_source(tmp_path / place / "*.csv", "column", None),
        ]
    assert len(set(digests)) == 1


def test_a_checkpoint_does_not_say_where_files_are_kept(tmp_path: Path) -> None:
    frames, settings = make_frames(), make_settings()
    settings["data"] |= {"cache": "always", "cache_folder": str(tmp_path / "stranger")}
    write_frames(tmp_path, frames)
    config = load_config(write_config(tmp_path, settings)).data
    found = load_dataset(config)
    shutil.rmtree(tmp_path / "stranger")
    sources = {name: tmp_path / f"{name}.csv" for name in frames}
    load_streams(config, found.schema, found.scaling, sources)
    info = SimpleNamespace(
        config=SimpleNamespace(data=config), data_schema=found.schema, scaling=found.scaling,
        split=found.split, fingerprint={},
    )  # fmt: skip
    load_evaluation_data(cast("CheckpointInfo", info))
    assert not (tmp_path / "stranger").exists()


@pytest.mark.parametrize("reader", ["load_table", "_prepare"])
def test_what_changes_while_it_is_read_is_not_kept_under_its_old_digest(
    config_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    owner, name = (dataset_module, reader) if reader == "_prepare" else (table_cache, "read_table")
    read, weather = getattr(owner, name), config_path.parent / "weather.csv"

    def replace_after(*given: Any) -> Any:
        found = read(*given)
        if not caplog.text:
            # So late that the clock of files tells it apart.
            time.sleep(0.05)
            weather.write_text(weather.read_text().replace(",1", ",2"))
        return found

    monkeypatch.setattr(owner, name, replace_after)
    load(config_path)
    assert "changed while it was read" in caplog.text
    monkeypatch.undo()
    assert_same(load(config_path), load(config_path, "data.cache=never"))


def test_files_that_change_while_a_training_reads_them_are_told_of(
    config_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(config_path, ["data.cache=never"]).data
    weather = config_path.parent / "weather.csv"

    def load_and_change(config: DataConfig) -> Dataset:
        found = load_dataset(config)
        time.sleep(0.05)
        weather.write_text(weather.read_text() + "\n")
        return found

    assert read_training_data(config).hashes == fingerprint(config)
    monkeypatch.setattr(assignment, "load_dataset", load_and_change)
    with pytest.raises(DataError, match="the files of weather changed while they were read"):
        read_training_data(config)
