"""The journal of a run: nothing lost, nothing trusted."""

from __future__ import annotations

import errno
import json
import multiprocessing
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mmts.tracking.journal import Delivered, Journal, find_journals, journal_of


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    journal = journal_of(tmp_path / "run")
    journal.begin()
    return journal


def numbers(journal: Journal) -> list[int]:
    return [record["step"] for record, _ in journal.read()]


def put(journal: Journal, *values: int) -> None:
    for value in values:
        journal.append({"record": "metrics", "values": {"n": 1.0}, "step": value, "time": 0})


def test_reading_goes_on_where_it_was_left(journal: Journal) -> None:
    put(journal, 1, 2, 3)
    (_, _), (_, second), _ = journal.read()
    assert [record["step"] for record, _ in journal.read(second)] == [3]


def test_a_line_that_was_torn_by_a_kill_costs_no_other(journal: Journal, tmp_path: Path) -> None:
    put(journal, 1, 2)
    whole = journal.path.read_bytes()
    for length in range(len(whole) + 1):
        journal.path.write_bytes(whole[:length])
        again = journal_of(tmp_path / "run")
        again.begin()
        put(again, 7)
        kept = [n for n in numbers(again) if n != 7]
        assert kept == [1, 2][: whole[:length].count(b"\n")] or length in _ends(whole)
        assert numbers(again)[-1] == 7


def _ends(whole: bytes) -> list[int]:
    """Return the lengths at which a record is whole but for the end of its line."""
    return [place for place, byte in enumerate(whole) if byte == ord("\n")]


def test_what_is_no_record_is_left_out(journal: Journal) -> None:
    put(journal, 1)
    with journal.path.open("ab") as file:
        file.write(b"\0\0\0\n[1]\n{}\n\xff\n" + b'{"record": 5}\n')
    put(journal, 2)
    assert numbers(journal) == [1, 2]


@pytest.mark.parametrize(
    "line",
    [
        '{"record": "metrics"}',
        '{"record": "metrics", "values": [1], "step": 1, "time": 1}',
        '{"record": "metrics", "values": {"a": "b"}, "step": 1, "time": 1}',
        '{"record": "metrics", "values": {"a": {}}, "step": 1, "time": 1}',
        '{"record": "metrics", "values": {"a": 1' + "0" * 400 + '}, "step": 1, "time": 1}',
        '{"record": "metrics", "values": {"a": 1}, "step": 1e999, "time": 1}',
        '{"record": "metrics", "values": {"a": 1}, "step": 1' + "0" * 40 + ', "time": 1}',
        '{"record": "metrics", "values": {"a": 1}, "step": null, "time": 1}',
        '{"record": "tags", "values": {"a": ["b"]}}',
        '{"record": "params"}',
        '{"record": "section", "heading": "Verdict"}',
        '{"record": "file", "path": 5, "folder": null}',
        '{"record": "status", "status": "KILLED", "time": "now"}',
        '{"record": "resumed"}',
        '{"record": "run", "experiment": "load"}',
        "[" * 100_000,
        '{"record": "metrics", "values": ' + "[" * 100_000,
    ],
)
def test_what_a_record_lacks_leaves_it_out_and_no_other(journal: Journal, line: str) -> None:
    put(journal, 1)
    with journal.path.open("a") as file:
        file.write(f"{line}\n")
    put(journal, 2)
    assert numbers(journal) == [1, 2]


def test_numbers_that_json_does_not_have_are_records(journal: Journal) -> None:
    values = {"a": "nan", "b": "inf", "c": "-inf", "d": 1, "e": 0.5}
    journal.append({"record": "metrics", "values": values, "step": 1, "time": 1})
    ((record, _),) = journal.read()
    assert record["values"] == values


def test_records_of_a_full_disk_are_kept_and_written_when_there_is_room(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put(journal, 1)
    real = Path.open

    def full(path: Path, *arguments: Any, **options: Any) -> Any:
        if path == journal.path and "a" in str(arguments):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    put(journal, 2, 3)
    assert numbers(journal) == [1]
    monkeypatch.undo()
    put(journal, 4)
    assert numbers(journal) == [1, 2, 3, 4]
    (message,) = [record.getMessage() for record in caplog.records]
    assert "No space left on device" in message
    assert "Make room" in message


def test_half_a_line_on_a_full_disk_costs_no_record(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(journal, 1)
    real = Path.open

    def nearly_full(path: Path, *arguments: Any, **options: Any) -> Any:
        file = real(path, *arguments, **options)
        if path != journal.path or "a" not in str(arguments):
            return file
        file.write(b'{"record": "met')
        file.close()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", nearly_full)
    journal._is_torn = True  # As after a write that was cut short.
    put(journal, 2)
    monkeypatch.undo()
    put(journal, 3)
    assert numbers(journal) == [1, 2, 3]


def test_several_threads_and_processes_append_without_mixing_lines(journal: Journal) -> None:
    threads = [
        threading.Thread(target=put, args=(journal, *range(n, n + 200)))
        for n in range(0, 1000, 200)
    ]
    other = multiprocessing.get_context("spawn").Process(
        target=_append, args=(journal.home, range(1000, 1500))
    )
    other.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.join()
    assert sorted(numbers(journal)) == list(range(1500))


def _append(home: Path, values: range) -> None:
    journal = journal_of(home)
    journal.begin()
    put(journal, *values)


def test_only_one_brings_a_journal_to_mlflow(journal: Journal) -> None:
    claim = journal.claim()
    assert claim is not None
    with closing(claim):
        assert journal.claim() is None
    again = journal.claim()
    assert again is not None
    again.close()


def test_where_no_lock_can_be_made_nobody_has_it(journal: Journal) -> None:
    # As in a folder that cannot be written, which root can.
    (journal.folder / "lock").mkdir()
    for _ in range(2):
        claim = journal.claim()
        assert claim is not None
        claim.close()


def test_a_lock_that_is_damaged_holds_nobody_off(journal: Journal) -> None:
    (journal.folder / "lock").write_bytes(b"no database" * 100)
    for _ in range(2):
        claim = journal.claim()
        assert claim is not None
        claim.close()


def test_how_far_it_has_been_brought_outlasts_the_process(journal: Journal) -> None:
    assert journal.delivered == Delivered()
    journal.note(Delivered("r1", ("r0",), 10, 20))
    assert journal.delivered == Delivered("r1", ("r0",), 10, 20)
    (journal.folder / "mlflow.json").write_text('{"run_id": "r1"')
    assert journal.delivered == Delivered()
    for values in ("1e999", "[" * 100_000, "1, 2"):
        content = f'{{"run_id": "r1", "former": [], "values": {values}, "files": 1}}'
        (journal.folder / "mlflow.json").write_text(content)
        assert journal.delivered == Delivered()
    (journal.folder / "mlflow.json").write_text(
        '{"run_id": null, "former": [], "values": -5, "files": -5}'
    )
    assert journal.delivered == Delivered()


def test_no_file_outside_of_the_runs_folder_is_found(journal: Journal, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (journal.home / "link.txt").symlink_to(tmp_path / "secret.txt")
    inside = journal.home / "best.mmts"
    inside.write_text("weights")
    address = journal.address(inside)
    assert address == "../best.mmts"
    assert journal.find(address) == inside.resolve()
    assert journal.address(tmp_path / "secret.txt") is None
    for stolen in ("../../secret.txt", str(tmp_path / "secret.txt"), "../link.txt"):
        assert journal.find(stolen) is None


def test_where_the_folder_cannot_be_written_there_is_one_for_as_long_as_it_lasts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").write_text("a file in the way")
    journal = journal_of(tmp_path / "run")
    journal.begin()
    put(journal, 1)
    assert numbers(journal) == [1]
    assert "cannot be written" in caplog.text


def test_journals_are_found_below_a_folder_those_above_first(tmp_path: Path) -> None:
    places = ["study", "study/trials/0000", "run"]
    for place in places:
        journal_of(tmp_path / place).begin()
    beside = Journal(tmp_path / "study" / "tracking" / "r9", tmp_path / "study")
    beside.begin()
    found = find_journals(tmp_path)
    assert [str(journal.home.relative_to(tmp_path)) for journal in found] == [
        "run", "study", "study", "study/trials/0000"
    ]  # fmt: skip
    assert found[2].folder == beside.folder


def test_a_record_is_one_line_of_plain_json(journal: Journal) -> None:
    journal.append({"record": "tags", "values": {"a": "two\nlines, é and \ud800"}})
    (line,) = journal.path.read_text().splitlines()
    assert json.loads(line)["values"]["a"].startswith("two\nlines, é")
