"""The cache: an entry is whole, as it was written, or not there."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mmts.data.cache import array_files
from mmts.data.cache.digests import digest_of
from mmts.data.cache.entries import ArrayCache, Entry, EntryCache, key_of, prune
from mmts.errors import CacheError
from tests.conftest import ROOT

INGREDIENTS = {"files": {"load": "0" * 64}, "step": "parse"}
ROWS = np.arange(12, dtype=np.float64).reshape(6, 2)
DAY = 86_400

WRITE = """
import sys
import numpy as np
from mmts.data.cache.entries import EntryCache
with EntryCache(sys.argv[1]).write({"step": "shared"}) as writer:
    writer.append("rows", np.arange(1000))
    print("written", flush=True)
    sys.stdin.readline()
    entry = writer.finish({})
    print(int(entry.arrays["rows"].sum()), flush=True)
"""


def write(cache: EntryCache, ingredients: dict[str, Any] | None = None) -> Entry:
    with cache.write(INGREDIENTS if ingredients is None else ingredients) as writer:
        writer.append("rows", ROWS)
        writer.create("mask", bool, (6,))[2] = True
        return writer.finish({"columns": ["wind", "sun"]})


def write_elsewhere(folder: Path) -> subprocess.Popen[str]:
    """Return a process that has written half of an entry, and waits for a line to go on."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    return process


def folders(path: Path) -> set[str]:
    return {found.name for found in path.iterdir()}


def age(folder: Path, seconds: float) -> None:
    """Make a folder and its files look as old as this."""
    then = time.time() - seconds
    for path in (*folder.iterdir(), folder):
        os.utime(path, (then, then))


@pytest.fixture
def cache(tmp_path: Path) -> EntryCache:
    return EntryCache(tmp_path / "cache")


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let the system refuse files of more than 64 KiB, as a disk does that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_entry_reads_back_as_it_was_written(cache: EntryCache) -> None:
    assert cache.load(INGREDIENTS) is None
    written = write(cache)
    found = cache.load(INGREDIENTS)
    assert found is not None
    for entry in (written, found):
        assert entry.key == key_of(INGREDIENTS)
        assert entry.description == {"columns": ["wind", "sun"]}
        np.testing.assert_array_equal(entry.arrays["rows"], ROWS)
        assert entry.arrays["mask"].tolist() == [False, False, True, False, False, False]
        assert isinstance(entry.arrays["rows"], np.memmap)
        assert not entry.arrays["rows"].flags.writeable
    assert folders(cache.folder) == {key_of(INGREDIENTS)}


def test_an_entry_says_in_words_what_it_was_made_from(cache: EntryCache) -> None:
    write(cache)
    manifest = json.loads((cache.folder / key_of(INGREDIENTS) / "entry.json").read_text())
    assert manifest["manifest"]["ingredients"] == INGREDIENTS


def test_other_ingredients_make_another_entry(cache: EntryCache) -> None:
    write(cache)
    assert cache.load({**INGREDIENTS, "step": "scale"}) is None
    assert key_of({"b": 1, "a": (2, 3)}) == key_of({"a": [2, 3], "b": 1})
    assert key_of({"a": 1}) != key_of({"a": "1"})


def test_a_description_may_hold_what_json_spells_otherwise(cache: EntryCache) -> None:
    with cache.write(INGREDIENTS) as writer:
        entry = writer.finish({"names": {10: "a", 9: ("b",)}})
    assert entry.description == {"names": {"10": "a", "9": ["b"]}}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int32, np.bool_, "M8[us]"])
@pytest.mark.parametrize("lengths", [[3, 0, 4], [0, 5], [0], [0, 0], [1] * 12])
@pytest.mark.parametrize("row", [(), (3,), (0,), (2, 2)])
def test_appended_chunks_make_the_array_of_all_of_them(
    cache: EntryCache, dtype: npt.DTypeLike, lengths: list[int], row: tuple[int, ...]
) -> None:
    chunks = [
        np.arange(length * int(np.prod(row))).reshape(length, *row).astype(dtype)
        for length in lengths
    ]
    with cache.write(INGREDIENTS) as writer:
        for chunk in chunks:
            writer.append("rows", chunk)
        rows = writer.finish({}).arrays["rows"]
    assert rows.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(rows, np.concatenate(chunks), strict=True)
    # A plain file of numpy's, for anyone who looks.
    path = cache.folder / key_of(INGREDIENTS) / "0.npy"
    np.testing.assert_array_equal(np.load(path), np.concatenate(chunks))


def test_an_entry_without_chunks_has_no_arrays(cache: EntryCache) -> None:
    with cache.write(INGREDIENTS) as writer:
        assert writer.finish({}).arrays == {}


def test_columns_of_a_table_are_appended_as_they_lie_in_memory(cache: EntryCache) -> None:
    with cache.write(INGREDIENTS) as writer:
        for name, values in (
            ("b/ä", ROWS[:, 1]),
            ("..", ROWS[::-1]),
            ("", np.asfortranarray(ROWS)),
        ):
            writer.append(name, values)
        arrays = writer.finish({}).arrays
    np.testing.assert_array_equal(arrays["b/ä"], ROWS[:, 1])
    np.testing.assert_array_equal(arrays[".."], ROWS[::-1])
    np.testing.assert_array_equal(arrays[""], ROWS)


@pytest.mark.parametrize("shape", [(), (0,), (4, 0), (3, 2)])
def test_a_created_array_starts_as_zeros(
    cache: EntryCache, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with cache.write(INGREDIENTS) as writer:
        writer.create("reserved", np.float32, shape)
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
        filled = writer.create("written", np.float32, shape)
        arrays = writer.finish({}).arrays
    for array in arrays.values():
        np.testing.assert_array_equal(array, np.zeros(shape, np.float32), strict=True)
    assert not filled.flags.writeable


def test_a_chunk_of_another_type_is_refused(cache: EntryCache) -> None:
    with cache.write(INGREDIENTS) as writer:
        writer.append("rows", np.zeros(2))
        with pytest.raises(AssertionError, match="int64"):
            writer.append("rows", np.zeros(2, dtype=np.int64))
        with pytest.raises(AssertionError, match="rows"):
            writer.append("rows", np.zeros((2, 1)))
        with pytest.raises(AssertionError, match="plain"):
            writer.append("objects", np.array([None]))
    assert folders(cache.folder) == set()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_writer_leaves_nothing_behind(
    cache: EntryCache, error: type[BaseException]
) -> None:
    def interrupt() -> None:
        with cache.write(INGREDIENTS) as writer:
            writer.append("rows", ROWS)
            writer.create("mask", bool, (6,))
            assert len(folders(cache.folder)) == 1
            raise error

    with pytest.raises(error):
        interrupt()
    assert folders(cache.folder) == set()


def test_a_killed_writer_leaves_no_entry(tmp_path: Path) -> None:
    process = write_elsewhere(tmp_path)
    process.kill()
    process.communicate()
    (left,) = folders(tmp_path)
    cache = EntryCache(tmp_path)
    assert cache.load({"step": "shared"}) is None
    # Another process may still be writing it, as far as anyone can tell, for a day.
    write(cache)
    assert folders(tmp_path) == {left, key_of(INGREDIENTS)}
    age(tmp_path / left, 2 * DAY)
    prune(tmp_path, 10**9)
    assert folders(tmp_path) == {key_of(INGREDIENTS)}


def test_two_processes_that_make_the_same_entry_both_have_it(tmp_path: Path) -> None:
    processes = [write_elsewhere(tmp_path) for _ in range(2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate()[0] for process in processes]
    assert outputs == ["499500\n"] * 2
    assert folders(tmp_path) == {key_of({"step": "shared"})}


def test_the_first_of_two_writers_wins(cache: EntryCache) -> None:
    with cache.write(INGREDIENTS) as late:
        late.append("rows", ROWS)
        write(cache)
        entry = late.finish({"columns": "late"})
    assert entry.description == {"columns": ["wind", "sun"]}
    assert folders(cache.folder) == {key_of(INGREDIENTS)}


def damage(folder: Path, how: str) -> None:
    path = folder / "0.npy"
    content = path.read_bytes()
    manifest = json.loads((folder / "entry.json").read_text())
    if how == "truncated":
        path.write_bytes(content[:-1])
    elif how == "emptied":
        path.write_bytes(b"")
    elif how == "one bit":
        path.write_bytes(content[:-3] + bytes([content[-3] ^ 4]) + content[-2:])
    elif how == "longer":
        path.write_bytes(content + b"\0")
    elif how == "missing":
        path.unlink()
    elif how == "another type":
        path.write_bytes(content.replace(b"<f8", b"<i8"))
    elif how == "a zip":
        path.write_bytes(b"PK\x03\x04" + content[4:])
    elif how == "no manifest":
        (folder / "entry.json").unlink()
    elif how == "half a manifest":
        (folder / "entry.json").write_text(json.dumps(manifest)[:-20])
    elif how == "another manifest":
        (folder / "entry.json").write_text("[1]")
    elif how == "an unsealed manifest":
        manifest["manifest"]["arrays"] = 7
        (folder / "entry.json").write_text(json.dumps(manifest))
    else:
        assert how == "an older format"
        manifest["manifest"]["format_version"] = 0
        manifest["sha256"] = digest_of(manifest["manifest"])
        (folder / "entry.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "how",
    [
        "truncated", "emptied", "one bit", "longer", "missing", "another type", "a zip",
        "no manifest", "half a manifest", "another manifest", "an unsealed manifest",
        "an older format",
    ],
)  # fmt: skip
def test_a_damaged_entry_is_discarded_and_made_anew(
    cache: EntryCache, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(cache)
    damage(cache.folder / key_of(INGREDIENTS), how)
    assert cache.load(INGREDIENTS) is None
    assert folders(cache.folder) == set()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    np.testing.assert_array_equal(write(cache).arrays["rows"], ROWS)


def test_a_damaged_entry_gives_way_to_a_new_one(cache: EntryCache) -> None:
    write(cache)
    with cache.write(INGREDIENTS) as writer:
        damage(cache.folder / key_of(INGREDIENTS), "truncated")
        entry = writer.finish({"columns": "new"})
    assert entry.description == {"columns": "new"}


def test_a_copied_entry_is_read_as_a_whole_and_only_once(
    cache: EntryCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(cache)
    shutil.copytree(cache.folder, tmp_path / "copy", copy_function=shutil.copyfile)
    copy = EntryCache(tmp_path / "copy")
    assert copy.load(INGREDIENTS) is not None

    def refuse(_: Path) -> int:
        raise AssertionError("read again")

    monkeypatch.setattr(array_files, "_checksum", refuse)
    assert copy.load(INGREDIENTS) is not None


def test_no_changed_byte_ends_in_a_traceback(cache: EntryCache, tmp_path: Path) -> None:
    write(cache)
    folder = cache.folder / key_of(INGREDIENTS)
    shutil.copytree(folder, tmp_path / "good")
    num_discarded = 0
    for name in ("0.npy", "entry.json"):
        content = (tmp_path / "good" / name).read_bytes()
        for place in range(0, len(content), 9):
            shutil.copytree(tmp_path / "good", folder, dirs_exist_ok=True)
            changed = bytes([content[place] ^ 0x15])
            (folder / name).write_bytes(content[:place] + changed + content[place + 1 :])
            found = cache.load(INGREDIENTS)
            if found is None:
                num_discarded += 1
            else:  # white space in the manifest
                np.testing.assert_array_equal(found.arrays["rows"], ROWS)
    assert num_discarded > 50


class FullFile:
    """A file on a disk without room."""

    def __enter__(self) -> FullFile:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_one_clear_error_and_leaves_nothing_behind(
    cache: EntryCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cache.write(INGREDIENTS) as writer:
        writer.append("rows", ROWS)
        monkeypatch.setattr(Path, "open", lambda *_: FullFile())
        with pytest.raises(CacheError, match=r"No space left on device\. Make room there"):
            writer.append("rows", ROWS)
    assert folders(cache.folder) == set()


def test_a_disk_that_fills_at_the_last_moment_leaves_nothing_behind(
    cache: EntryCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(CacheError, match="No space left"):
        write(cache)
    assert folders(cache.folder) == set()


@pytest.mark.usefixtures("small_files")
def test_an_array_without_room_is_refused_before_it_is_filled(cache: EntryCache) -> None:
    big = np.zeros(1 << 16)
    with pytest.raises(CacheError, match="large"), cache.write(INGREDIENTS) as writer:
        writer.create("rows", big.dtype, big.shape)
    with pytest.raises(CacheError, match="large"), cache.write(INGREDIENTS) as writer:
        writer.append("rows", big)
    assert folders(cache.folder) == set()


def test_a_folder_that_vanishes_is_one_clear_error(cache: EntryCache) -> None:
    with cache.write(INGREDIENTS) as writer:
        writer.append("rows", ROWS)
        shutil.rmtree(cache.folder)
        with pytest.raises(CacheError, match="No such file"):
            writer.finish({})
    assert cache.load(INGREDIENTS) is None


def test_a_place_that_is_no_folder_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    cache = EntryCache(tmp_path / "cache")
    assert cache.load(INGREDIENTS) is None
    with pytest.raises(CacheError, match="File exists"):
        write(cache)


def test_a_folder_for_reading_only_still_gives_its_entries(
    cache: EntryCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(cache)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert cache.load(INGREDIENTS) is not None
    with pytest.raises(CacheError, match="Permission denied"):
        write(cache, {"step": "other"})


def test_one_array_is_made_once(tmp_path: Path) -> None:
    calls = []

    def make() -> npt.NDArray[Any]:
        calls.append(1)
        return ROWS[:, ::-1]

    for _ in range(3):
        found = ArrayCache(tmp_path).load_or_make("texts/../of ä", make)
        np.testing.assert_array_equal(found, ROWS[:, ::-1], strict=True)
        assert not found.flags.writeable
    assert len(calls) == 1
    ArrayCache(tmp_path).load_or_make("other texts", make)
    assert len(calls) == 2


def test_without_a_cache_an_array_is_made_and_one_warning_given(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file")
    cache = ArrayCache(tmp_path / "cache")
    for key in ("a", "b"):
        found = cache.load_or_make(key, ROWS.copy)
        np.testing.assert_array_equal(found, ROWS, strict=True)
        assert not found.flags.writeable
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_fault_in_making_an_array_is_the_callers(tmp_path: Path) -> None:
    def make() -> npt.NDArray[Any]:
        raise FileNotFoundError("the texts")

    with pytest.raises(FileNotFoundError):
        ArrayCache(tmp_path).load_or_make("a", make)
    assert folders(tmp_path) == set()


def test_pruning_removes_what_was_not_used_for_longest(cache: EntryCache) -> None:
    keys = []
    for place in range(4):
        keys.append(write(cache, {"place": place}).key)
        age(cache.folder / keys[-1], (10 - place) * DAY)
    cache.load({"place": 0})
    size = sum(path.stat().st_size for path in (cache.folder / keys[0]).iterdir())
    prune(cache.folder, int(2.5 * size))
    assert folders(cache.folder) == {keys[0], keys[3]}


def test_publishing_prunes_but_never_what_was_just_published(tmp_path: Path) -> None:
    cache = EntryCache(tmp_path, max_bytes=1)
    old = write(cache, {"place": 0})
    age(tmp_path / old.key, DAY)
    new = [write(cache, {"place": place}).key for place in (1, 2)]
    assert folders(tmp_path) == set(new)
    # What is removed stays as it was for whoever has it mapped.
    np.testing.assert_array_equal(old.arrays["rows"], ROWS)


def test_pruning_touches_nothing_that_is_not_an_entry(cache: EntryCache) -> None:
    write(cache)
    for name in ("notes", ".mmts-notes", "digests"):
        (cache.folder / name).mkdir()
        (cache.folder / name / "entry.json").write_text("{}")
    for folder in cache.folder.iterdir():
        age(folder, 9 * DAY)
    prune(cache.folder, 0)
    assert folders(cache.folder) == {"notes", ".mmts-notes", "digests"}


def test_a_cache_remembers_digests_in_a_folder_of_its_own(
    cache: EntryCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cache.folder.parent / "load.csv"
    path.write_bytes(b"a,b\n")
    age(path.parent, DAY)
    tomorrow = time.time() + DAY
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    assert cache.file_digest(path) == hashlib.sha256(b"a,b\n").hexdigest()
    assert folders(cache.folder) == {"digests"}


def test_pruning_a_folder_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CacheError):
        prune(tmp_path / "nowhere", 0)
