"""What is read from the folder of a run, whole, half written or damaged."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from mmts.checkpoint import read_info
from mmts.errors import RunError
from mmts.run_folders.comparison import compare_runs
from mmts.run_folders.description import read_description
from mmts.run_folders.folder import find_run, list_runs, read_run
from mmts.run_folders.history import has_ended, keep_epochs, mean_speed, read_history
from tests.run_folders.worlds import (
    add_evaluation,
    make_run,
    make_settings,
    write_checkpoint,
    write_header,
)


def test_a_run_says_how_far_it_came_and_how_good_it_is(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "one")
    add_evaluation(folder, 1.5)
    add_evaluation(folder, 1.4, "calibrated")
    add_evaluation(folder, 1.3, "validation/without/weather", split="validation")
    run = read_run(folder)
    assert run.name == "one"
    assert run.state == "finished"
    assert run.num_epochs == 4
    assert run.best is not None
    assert (run.best.number, run.best.validation_loss) == (2, 0.2)
    test = run.evaluation()
    assert test is not None
    assert test.scores["model"]["mae"] == 1.5
    assert test.scores["ridge"]["coverage"] is None
    assert test.best_baseline() == ("ridge", 2.0)
    places = [found.place for found in run.evaluations]
    assert places == ["test", "test, calibrated", "validation, without/weather"]
    assert run.notes == ()
    assert json.loads(json.dumps(run.to_json(), allow_nan=False))["best_baseline_mae"] == 2.0


@pytest.mark.parametrize(
    ("losses", "ends"),
    [
        ((), False),
        ((0.5,), False),
        ((0.5, 0.4, 0.3), False),
        ((0.5, 0.4, 0.3, 0.2, 0.1), True),
        # What training starts from counts for what is kept, and not for when to stop.
        ((0.1, 0.4, 0.3, 0.2), False),
        ((0.5, 0.3, 0.4, 0.4), True),
        ((0.5, 0.3, 0.4), False),
    ],
)
def test_a_training_has_ended_by_its_last_epoch_or_its_patience(
    tmp_path: Path, losses: tuple[float, ...], ends: bool
) -> None:
    epochs = read_history(make_run(tmp_path / "run", losses) / "history.jsonl")
    assert has_ended(epochs, max_epochs=4, patience=2) == ends


def test_speed_is_that_of_all_epochs_together(tmp_path: Path) -> None:
    epochs = read_history(make_run(tmp_path / "run", (1.0, 1.0, 1.0)) / "history.jsonl")
    # As many windows at 100 a second as at 200.
    assert mean_speed(epochs) == pytest.approx(400 / 3)
    assert mean_speed(epochs[:1]) is None


def test_a_run_that_has_just_begun_has_nothing_yet(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run", ()))
    assert run.state == "nothing trained"
    assert run.best is None
    assert run.to_json()["validation_loss"] is None


def test_a_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", (0.5, 0.4))
    with (folder / "history.jsonl").open("a") as file:
        file.write('{"epoch": 2, "val/lo')
    run = read_run(folder)
    assert run.num_epochs == 1
    assert run.state == "not finished"
    assert run.notes == ()


def test_what_is_damaged_is_noted_and_the_rest_is_read(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "best.mmts").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    add_evaluation(folder, 1.5, "calibrated")
    (folder / "evaluation" / "evaluation.json").write_text('{"split": "te')
    run = read_run(folder)
    assert run.best is not None
    assert [found.place for found in run.evaluations] == ["test, calibrated"]
    checkpoint, evaluation = run.notes
    assert "best.mmts: not a checkpoint of mmts, or a damaged one (it ends too early)" in checkpoint
    assert "evaluation.json: not what `mmts evaluate` wrote" in evaluation
    (folder / "history.jsonl").write_text("nonsense\n")
    (folder / "config.yaml").write_text("a: [")
    run = read_run(folder)
    assert run.state == "nothing trained"
    assert any("history.jsonl, line 1: is no epoch" in note for note in run.notes)
    assert any("config.yaml, line 1: not well-formed YAML" in note for note in run.notes)


DEEP = "[" * 200_000
EVALUATION = {
    "split": "test", "dates": {"test": ["a", "b"]}, "num_windows": 1, "epoch": 1, "verdict": "",
    "scores": {"model": {"all targets": {"overall": {"mae": 1.0}}}},
}  # fmt: skip
HOSTILE = {
    "a header that is nested without end": ("best.mmts", write_header(DEEP)),
    "a description that is nested without end": (
        "best.mmts", write_header(json.dumps({"__metadata__": {"mmts": DEEP}}))
    ),
    "an epoch without end": ("history.jsonl", b'{"epoch": 1e999, "val/loss": 1}\n'),
    "an epoch of many digits": (
        "history.jsonl", b'{"epoch": 1' + b"0" * 400 + b', "val/loss": 1}\n'
    ),
    "a loss without end": ("history.jsonl", b'{"epoch": 1, "val/loss": Infinity}\n'),
    "a loss of many digits": ("history.jsonl", b'{"epoch": 1, "val/loss": 1' + b"0" * 400 + b"}\n"),
    "a history that is nested without end": ("history.jsonl", DEEP.encode() + b"\n"),
    "windows without end": (
        "evaluation/evaluation.json", json.dumps(EVALUATION | {"num_windows": math.inf}).encode()
    ),
    "an evaluation that is nested without end": ("evaluation/evaluation.json", DEEP.encode()),
    "no scores of the model": (
        "evaluation/evaluation.json", json.dumps(EVALUATION | {"scores": {}}).encode()
    ),
    "an error without end": (
        "evaluation/evaluation.json",
        json.dumps(EVALUATION).replace("1.0", "Infinity").encode(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_hostile_run_is_noted_and_hides_no_other(tmp_path: Path, fault: str) -> None:
    make_run(tmp_path / "good")
    bad = make_run(tmp_path / "bad")
    name, content = HOSTILE[fault]
    (bad / name).parent.mkdir(exist_ok=True)
    (bad / name).write_bytes(content)
    runs, _ = list_runs(tmp_path)
    listed = json.loads(json.dumps([run.to_json() for run in runs], allow_nan=False))
    notes = {run["run"]: run["notes"] for run in listed}
    assert notes["good"] == []
    (note,) = notes["bad"]
    assert name in note
    json.dumps(compare_runs(runs).to_json(), allow_nan=False)


@pytest.mark.parametrize("value", [math.nan, [1], {"a": []}, 5])
def test_a_checkpoint_that_names_things_by_what_is_no_name_hides_no_other(
    tmp_path: Path, value: object
) -> None:
    described = {
        "config": make_settings() | {"name": value}, "run_id": value, "epoch": value,
        "fingerprint": {"load": value, "weather": "1"},
    }  # fmt: skip
    settings = make_settings()
    settings["data"]["streams"]["load"]["target"] = 5
    bad = make_run(tmp_path / "bad", settings=settings)
    write_checkpoint(bad / "best.mmts", described)
    make_run(tmp_path / "good")
    runs, _ = list_runs(tmp_path)
    listed = {run.name: run.to_json() for run in runs}
    json.dumps(listed, allow_nan=False)
    assert listed["bad"]["experiment"] is listed["bad"]["run_id"] is None
    compare_runs([read_run(tmp_path / name) for name in ("good", "bad")])


def test_a_history_is_shortened_whatever_its_counts_are_written_as(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    lines = ['{"epoch": "1", "val/loss": 0.5}\n', '{"epoch": 2.0, "val/loss": 0.4}\n']
    history.write_text("".join(lines))
    keep_epochs(history, 1)
    assert history.read_text() == lines[0]


@pytest.mark.parametrize("training", [None, "soon", {}, {"max_epochs": "many"}])
def test_settings_of_another_form_end_nothing(tmp_path: Path, training: object) -> None:
    settings = make_settings() | {"training": training}
    run = read_run(make_run(tmp_path / "run", settings=settings))
    assert run.state == "not finished"
    assert run.to_json()["max_epochs"] is None


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\3\4 and so on", b"\xff" * 64, b"\2\0\0\0\0\0\0\0{}", b"\2\0\0\0\0\0\0\0[]"],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "best.mmts"
    path.write_bytes(content)
    with pytest.raises(RunError, match="not a checkpoint of mmts"):
        read_description(path)


def test_the_description_is_what_the_checkpoint_itself_reads(trained: Path) -> None:
    described, info = read_description(trained), read_info(trained)
    assert described["epoch"] == info.epoch
    assert described["fingerprint"] == info.fingerprint
    run = read_run(trained.parent)
    assert run.state == "finished"
    assert run.best is not None
    assert run.best.number == info.epoch
    assert run.best.validation_loss == pytest.approx(info.validation_loss)
    quick = read_run(trained.parent, reads_config=False)
    assert quick.settings == run.settings


def test_runs_are_listed_newest_first_and_studies_apart(tmp_path: Path) -> None:
    make_run(tmp_path / "old", began=1_600_000_000)
    make_run(tmp_path / "new")
    (tmp_path / "mlartifacts").mkdir()
    study = tmp_path / "demo-study"
    make_run(study / "trials" / "0000")
    (study / "study.yaml").write_text("config: {}\n")
    runs, studies = list_runs(tmp_path)
    assert [run.name for run in runs] == ["new", "old"]
    assert studies == [study]
    assert [run.name for run in list_runs(study / "trials")[0]] == ["0000"]
    with pytest.raises(RunError, match=r"no such folder\. Train first"):
        list_runs(tmp_path / "nowhere")


def test_a_run_is_found_by_folder_checkpoint_or_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(tmp_path / "runs" / "one")
    monkeypatch.chdir(tmp_path)
    runs = Path("runs")
    for given in (str(folder), "runs/one", "runs/one/best.mmts", "one"):
        assert find_run(given, runs).resolve() == folder
    with pytest.raises(RunError, match="onne: no such run; did you mean 'one'"):
        find_run("onne", runs)
    with pytest.raises(RunError, match="zzz: no such run in runs; there are one"):
        find_run("zzz", runs)
    with pytest.raises(RunError, match="and none in elsewhere"):
        find_run("zzz", Path("elsewhere"))
    with pytest.raises(RunError, match="is no folder of a run: it holds no config"):
        read_run(find_run("runs", runs))
