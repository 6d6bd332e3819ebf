"""Digests of files: remembered while the file stays as it was, and never longer."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from mmts.data.cache.digests import digest_of, file_digest
from mmts.errors import DataError

DAY = 86_400


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets one longer whenever a file is read and hashed."""
    found: list[int] = []
    real = hashlib.file_digest

    def count(*arguments: object) -> object:
        found.append(1)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", count)
    return found


@pytest.fixture
def tomorrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a day pass, so that what was just written has come to rest."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + DAY)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.usefixtures("tomorrow")
def test_a_file_is_read_once(tmp_path: Path, reads: list[int]) -> None:
    path = tmp_path / "load.csv"
    path.write_bytes(b"a,b\n")
    memo = tmp_path / "cache" / "digests"
    assert [file_digest(path, memo) for _ in range(3)] == [sha256(b"a,b\n")] * 3
    assert len(reads) == 1
    path.write_bytes(b"a,b,c\n")
    assert file_digest(path, memo) == sha256(b"a,b,c\n")


def test_a_file_just_written_is_not_trusted_to_stay(tmp_path: Path, reads: list[int]) -> None:
    path = tmp_path / "load.csv"
    path.write_bytes(b"1")
    before = path.stat()
    assert file_digest(path, tmp_path / "memo") == sha256(b"1")
    # The same size, the same file, and, within one tick of a coarse clock, the same times.
    path.write_bytes(b"2")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file_digest(path, tmp_path / "memo") == sha256(b"2")
    assert len(reads) == 2
    assert not (tmp_path / "memo").exists()


@pytest.mark.usefixtures("tomorrow")
@pytest.mark.parametrize("how", ["in place", "by another file", "with another time"])
def test_a_changed_file_of_the_same_size_is_noticed(tmp_path: Path, how: str) -> None:
    path = tmp_path / "load.csv"
    path.write_bytes(b"1")
    before = path.stat()
    assert file_digest(path, tmp_path / "memo") == sha256(b"1")
    if how == "by another file":
        (tmp_path / "new.csv").write_bytes(b"2")
        (tmp_path / "new.csv").replace(path)
    else:
        time.sleep(0.02)  # more than a tick of the file system's clock
        path.write_bytes(b"2")
    later = 1 if how == "with another time" else 0
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + later))
    assert file_digest(path, tmp_path / "memo") == sha256(b"2")


@pytest.mark.usefixtures("tomorrow")
@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"sha256": 7}', "\ufffd"])
def test_a_damaged_memo_is_not_used(tmp_path: Path, content: str) -> None:
    path = tmp_path / "load.csv"
    path.write_bytes(b"1")
    file_digest(path, tmp_path / "memo")
    (memo,) = (tmp_path / "memo").iterdir()
    memo.write_text(content)
    assert file_digest(path, tmp_path / "memo") == sha256(b"1")


@pytest.mark.usefixtures("tomorrow")
def test_without_a_place_to_remember_a_digest_is_still_found(tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    path.write_bytes(b"1")
    assert file_digest(path) == file_digest(path, path) == sha256(b"1")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(DataError, match=str(path)):
            file_digest(path, tmp_path / "memo")


def test_equal_content_has_equal_digests_and_nan_has_none() -> None:
    assert digest_of({"a": 1.5, "b": [None, "ä"]}) == digest_of({"b": (None, "ä"), "a": 1.5})
    assert digest_of({"a": 1}) != digest_of({"a": 1.0})
    with pytest.raises(ValueError, match="JSON"):
        digest_of(float("nan"))
