"""`mmts runs` by the real command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.run_folders.worlds import add_evaluation, make_run, make_settings
from tests.test_house import HEAVY, loaded_by


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder with two runs in `runs`."""
    one = make_run(tmp_path / "runs" / "one", began=1_600_000_000)
    add_evaluation(one, 1.5)
    make_run(tmp_path / "runs" / "two", (0.5, 0.1), settings=make_settings(patience=7))
    return tmp_path


def test_runs_are_listed_with_what_came_of_them(mmts: Command, place: Path) -> None:
    done = mmts("runs", "list", cwd=place)
    assert done.returncode == 0, done.stderr
    headings, two, one = done.stdout.splitlines()
    assert headings.split()[:3] == ["run", "began", "state"]
    assert two.split()[:1] + two.split()[3:] == [
        "two",
        "not",
        "finished",
        "1/4",
        "1",
        "0.1000",
        "-",
    ]
    assert one.split()[0] == "one"
    assert one.split()[3:] == ["finished", "4/4", "2", "0.2000", "1.500", "ridge", "2.000"]


def test_a_damaged_run_is_noted_and_the_others_are_listed(mmts: Command, place: Path) -> None:
    (place / "runs" / "two" / "best.mmts").write_bytes(b"torn")
    (place / "runs" / "two" / "history.jsonl").write_text('{"epoch": 1, "val/loss": 0.1}\n{"ep')
    make_run(place / "runs" / "three", ())
    done = mmts("runs", "list", cwd=place)
    assert done.returncode == 0, done.stderr
    *lines, note = done.stdout.splitlines()
    assert sorted(line.split()[0] for line in lines[1:]) == ["one", "three", "two"]
    assert "nothing trained" in done.stdout
    assert note.startswith("note: runs/two/best.mmts: not a checkpoint of mmts")


def test_a_hostile_run_hides_no_other(mmts: Command, place: Path) -> None:
    (place / "runs" / "two" / "best.mmts").write_bytes(
        (200_000).to_bytes(8, "little") + b"[" * 200_000
    )
    journal = place / "runs" / "two" / "tracking" / "records.jsonl"
    journal.parent.mkdir()
    journal.write_text("[" * 200_000 + "\n")
    for arguments in (["list"], ["list", "--json"], ["compare", "one", "two"]):
        done = mmts("runs", *arguments, cwd=place)
        assert done.returncode == 0, done.stderr
        assert "one" in done.stdout
    done = mmts("runs", "sync", cwd=place)
    assert done.returncode == 2
    assert done.stderr == (
        "TrackingError: runs/two/tracking/records.jsonl: does not begin with a run, and is "
        "damaged. Take the folder runs/two/tracking away, and no command looks at it again.\n"
    )


def test_programs_read_runs_as_json(mmts: Command, place: Path) -> None:
    done = mmts("runs", "list", "runs", "--json", cwd=place)
    two, one = json.loads(done.stdout)
    assert (one["run"], one["state"], one["test"]["mae"]) == ("one", "finished", 1.5)
    assert (two["validation_loss"], two["max_epochs"], two["test"]) == (0.1, 4, None)
    done = mmts("runs", "compare", "one", "runs/two/best.mmts", "--json", cwd=place)
    found = json.loads(done.stdout)
    assert found["config"] == {"training.patience": [2, 7]}
    assert found["metrics"]["validation loss"] == [0.2, 0.1]


def test_two_runs_are_compared_by_config_and_metrics(mmts: Command, place: Path) -> None:
    done = mmts("runs", "compare", "one", "two", cwd=place)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["config", "one", "two"]
    assert lines[1] == ["training.patience", "2", "7"]
    assert ["validation", "loss", "0.2000", "0.1000", "-50.0%"] in lines
    assert ["test:", "MAE", "1.500", "-"] in lines


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["list", "nowhere"], "nowhere: no such folder"),
        (["compare", "one"], "one: is one run alone"),
        (["compare", "one", "twp"], "twp: no such run; did you mean 'two'?"),
        (["compare", "one", "runs"], "runs: is no folder of a run: it holds no config.yaml"),
    ],
)
def test_what_is_no_run_is_refused(
    mmts: Command, place: Path, arguments: list[str], words: str
) -> None:
    done = mmts("runs", *arguments, cwd=place)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"RunError: {words}")
    assert done.stderr.rstrip().endswith((".", "?"))


def test_a_folder_without_runs_and_a_run_itself_can_be_listed(mmts: Command, place: Path) -> None:
    (place / "empty").mkdir()
    assert mmts("runs", "list", "empty", cwd=place).stdout == "no run in empty\n"
    done = mmts("runs", "list", "runs/one", cwd=place)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["run", "one"]


def test_looking_at_runs_loads_nothing_heavy(place: Path) -> None:
    runs = place / "runs"
    for arguments in (("list", runs), ("compare", runs / "one", runs / "two")):
        loaded = loaded_by("runs", *arguments)
        assert "yaml" in loaded
        assert not loaded & (HEAVY | {"torch", "pandas", "numpy", "pyarrow"})
