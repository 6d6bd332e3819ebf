"""One file, whole or absent, whatever happens to the disk below it."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from mmts.errors import OutputError
from mmts.files import require_folder, whole_file, write_table, write_whole
from mmts.folder_lock import LOCK, hold_folder
from mmts.part_files import name_part
from tests.conftest import ROOT
from tests.faults.disk import FaultyDisk, faults, snapshot

OLD, NEW = b"old\n" * 10, b"new\n" * 2500

KILLED = """
import sys, time
from mmts.files import whole_file
with whole_file(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("half", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "forecast.csv"
    path.write_bytes(OLD)
    return path


@contextmanager
def files_of_at_most(num_bytes: int) -> Iterator[None]:
    """Let the system itself refuse what is longer, as a disk does that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_after_any_number_of_bytes_leaves_the_old_file(target: Path) -> None:
    limits = range(0, len(NEW), 97)
    for limit in limits:
        with (
            files_of_at_most(limit),
            pytest.raises(OutputError, match=r"File too large\. .* limit"),
        ):
            write_whole(target, NEW)
        assert snapshot(target.parent) == {target.name: OLD}
    with files_of_at_most(len(NEW)):
        write_whole(target, NEW)
    assert snapshot(target.parent) == {target.name: NEW}
    print(f"{len(limits)} faults injected")


@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT", "EIO", "EROFS", "EACCES"])
def test_a_fault_of_any_kind_at_any_step_leaves_the_old_file(target: Path, error: str) -> None:
    table = pd.DataFrame({"mean": range(20_000)})
    disk = FaultyDisk(target.parent)
    with faults(disk):
        write_table(target, table)
    whole = target.read_bytes()
    assert whole == table.to_csv(index=False).encode()
    kinds = [operation.partition(" ")[0] for operation in disk.operations]
    assert kinds[0] == "open"
    assert kinds.count("write") > 5  # in pieces, and never all of the text at once
    assert kinds[-3:] == ["fsync", "rename", "fsync"]
    # That of the folder comes last, and the file is there without it.
    for number in range(1, len(kinds)):
        target.write_bytes(OLD)
        disk = FaultyDisk(target.parent, number, getattr(errno, error))
        with faults(disk), pytest.raises(OutputError) as told:
            write_table(target, table)
        assert disk.has_failed
        assert str(told.value).startswith(f"{target}: cannot be written: ")
        assert str(told.value).endswith("What was there before stays as it was.")
        assert snapshot(target.parent) == {target.name: OLD}
    print(f"{len(kinds) - 1} faults injected")


def test_a_file_system_that_cannot_sync_a_folder_will_do(target: Path) -> None:
    disk = FaultyDisk(target.parent, fails_at=5, error=errno.EINVAL)
    with faults(disk):
        write_whole(target, NEW)
    assert disk.operations[-1] == "fsync "
    assert disk.has_failed
    assert target.read_bytes() == NEW


def test_a_fault_in_the_block_leaves_the_old_file(target: Path) -> None:
    with pytest.raises(TypeError), whole_file(target) as file:
        file.writelines([NEW, 0])  # type: ignore[list-item]
    assert snapshot(target.parent) == {target.name: OLD}


def test_a_folder_that_vanishes_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    written = whole_file(folder / "a.csv")
    file = written.__enter__()
    file.write(NEW)
    shutil.rmtree(folder)
    with pytest.raises(OutputError, match="make it again"):
        written.__exit__(None, None, None)
    assert snapshot(tmp_path) == {}


def test_what_a_killed_process_has_left_goes_with_the_next_write(target: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        # While it lives, nobody takes its file away, not even who holds the folder.
        write_whole(target, OLD)
        with hold_folder(target.parent):
            (part,) = target.parent.glob(".mmts-*.part")
        process.kill()
    assert (part.read_bytes(), target.read_bytes()) == (b"half", OLD)
    write_whole(target, NEW)
    assert set(snapshot(target.parent)) == {target.name, LOCK}
    assert target.read_bytes() == NEW


def test_what_another_machine_has_left_goes_after_an_hour(target: Path) -> None:
    part = target.with_name(f".mmts-01234567-{2**31}-89abcdef.part")
    part.write_bytes(b"half")
    write_whole(target, NEW)
    assert part.exists()
    then = time.time() - 3700
    os.utime(part, (then, then))
    write_whole(target, NEW)
    assert snapshot(target.parent) == {target.name: NEW}


def test_only_our_own_left_overs_are_removed(target: Path) -> None:
    own = name_part()
    others = (".mmts-1.part", own.removeprefix("."), f"{own}ial")
    for name in (own, *others):
        path = target.with_name(name)
        path.write_bytes(OLD)
        os.utime(path, (0, 0))
    write_whole(target, NEW)
    assert set(snapshot(target.parent)) == {target.name, *others}


def test_a_name_as_long_as_any_can_be_is_written(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 255)
    write_whole(target, NEW)
    assert target.read_bytes() == NEW
    for check in (require_folder, lambda path: write_whole(path, NEW)):
        with pytest.raises(OutputError, match=r"too long\. Give it a shorter name"):
            check(tmp_path / ("x" * 256))
        with pytest.raises(OutputError, match=r"too long\. Give it a shorter name"):
            check(tmp_path / ("x" * 256) / "a.csv")


def test_a_link_stays_one_and_what_it_points_to_is_replaced(target: Path, tmp_path: Path) -> None:
    link, dangling = tmp_path / "link", tmp_path / "dangling"
    link.symlink_to(target)
    dangling.symlink_to("made.csv")
    write_whole(link, NEW)
    write_whole(dangling, NEW)
    assert link.is_symlink()
    assert dangling.is_symlink()
    assert snapshot(tmp_path) == dict.fromkeys(
        ("forecast.csv", "link", "dangling", "made.csv"), NEW
    )


@pytest.mark.parametrize("check", [require_folder, lambda path: write_whole(path, NEW)])
def test_what_is_no_file_is_refused_and_stays(tmp_path: Path, check: object) -> None:
    assert callable(check)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("no/such/folder")
    (tmp_path / "device").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        before = {path.name: path.lstat().st_ino for path in tmp_path.iterdir()}
        for name, words in (
            ("folder", "is a folder"),
            ("fifo", "is a pipe or a device"),
            ("device", "is a pipe or a device"),
            ("socket", "is a pipe or a device"),
            ("loop", "Too many levels"),
        ):
            with pytest.raises(OutputError, match=words):
                check(tmp_path / name)
    with pytest.raises(OutputError, match="Its folder is gone"):
        write_whole(tmp_path / "nowhere", NEW)
    assert {path.name: path.lstat().st_ino for path in tmp_path.iterdir()} == before


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="there is no such device here")
@pytest.mark.parametrize(
    ("name", "words"),
    [("/dev/stdout", "is a pipe or a device"), ("-", "not written to standard output")],
)
def test_standard_output_is_no_file(name: str, words: str, tmp_path: Path) -> None:
    code = f"from mmts.files import require_folder; require_folder({name!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert words in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_takes_no_files_is_told_before_any_work(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_folder(target)
    # As the superuser may write anywhere, the system's answer is made up.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="takes no files"):
        require_folder(target)


def test_a_full_file_system_is_told_and_keeps_what_it_held(small_disk: Path) -> None:
    target = small_disk / "forecast.csv"
    target.write_bytes(OLD)
    with pytest.raises(OutputError, match=r"No space left on device\. Make room there"):
        write_whole(target, bytes(4_000_000))
    assert snapshot(small_disk) == {target.name: OLD}
    write_whole(target, NEW)
    assert snapshot(small_disk) == {target.name: NEW}


def test_a_file_system_for_reading_only_is_told(small_disk: Path) -> None:
    target = small_disk / "forecast.csv"
    target.write_bytes(OLD)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OutputError, match="takes no files"):
        require_folder(target)
    with pytest.raises(OutputError, match=r"Read-only file system\. Name a place"):
        write_whole(target, NEW)
    assert snapshot(small_disk) == {target.name: OLD}
