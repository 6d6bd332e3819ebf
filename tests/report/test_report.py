"""The report: one file, nothing outside of it, and the same numbers as beside it."""

from __future__ import annotations

import base64
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mmts.data.dataset import Dataset
from mmts.evaluation import evaluate
from mmts.forecasting import Forecaster
from mmts.plots import plot_error_by_step, to_png
from mmts.report import write_report
from tests.conftest import Command

VOID = {"meta", "img", "br", "link"}


class Reader(HTMLParser):
    """Reads a page as a browser would, and keeps what the tests ask for."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.cells: list[str] = []
        self.words = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data
        if "td" in self.open:
            self.cells[-1] += data


@pytest.fixture
def folder(forecaster: Forecaster, dataset: Dataset, tmp_path: Path) -> Path:
    """Return a folder with an evaluation and one of its pictures."""
    evaluation = evaluate(forecaster, dataset)
    (tmp_path / "evaluation.json").write_text(json.dumps(evaluation.to_json()))
    (tmp_path / "error_by_step.png").write_bytes(to_png(plot_error_by_step(evaluation)))
    return tmp_path


def read(folder: Path, forecaster: Forecaster, dataset: Dataset, trained: Path) -> Reader:
    path = write_report(
        folder, forecaster.info, dataset, forecaster.model, trained, folder / "explanation"
    )
    assert path == folder / "report.html"
    return Reader(path.read_text(encoding="utf-8"))


def test_it_needs_nothing_outside_of_itself(
    folder: Path, forecaster: Forecaster, dataset: Dataset, trained: Path
) -> None:
    page = read(folder, forecaster, dataset, trained)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert page.addresses
    assert all(address.startswith(("#", "data:image/")) for address in page.addresses)
    style = (folder / "report.html").read_text().partition("<style>")[2].partition("</style>")[0]
    assert style
    assert "url(" not in style
    assert "@import" not in style


def test_it_tells_verdict_scores_and_config(
    folder: Path, forecaster: Forecaster, dataset: Dataset, trained: Path
) -> None:
    page = read(folder, forecaster, dataset, trained)
    found = json.loads((folder / "evaluation.json").read_text())
    assert found["verdict"] in page.words
    for method, by_target in found["scores"].items():
        row = page.cells.index(method)
        assert page.cells[row + 1] == f"{by_target['load']['overall']['mae']:#.4g}"
        assert page.cells[row + 2] == f"{by_target['load']['overall']['rmse']:#.4g}"
    assert forecaster.info.config.to_yaml() in page.words
    for stream in ("load", "weather", "plan", "news", "site"):
        assert stream in page.cells


def test_its_pictures_are_those_beside_it(
    folder: Path, forecaster: Forecaster, dataset: Dataset, trained: Path
) -> None:
    page = read(folder, forecaster, dataset, trained)
    (picture,) = [a for a in page.addresses if a.startswith("data:image/png;base64,")]
    drawn = base64.b64decode(picture.partition(",")[2])
    assert drawn == (folder / "error_by_step.png").read_bytes()


def test_nothing_in_it_is_read_as_html(
    folder: Path, forecaster: Forecaster, dataset: Dataset, trained: Path
) -> None:
    found = json.loads((folder / "evaluation.json").read_text())
    found["notes"] = ["<script>alert(1)</script> & <b>more</b>"]
    (folder / "evaluation.json").write_text(json.dumps(found))
    page = read(folder, forecaster, dataset, trained)
    assert found["notes"][0] in page.words
    assert not {"script", "b"} & set(page.tags)


@pytest.mark.parametrize("epoch", [0, None])
def test_an_explanation_of_other_weights_is_left_out(
    folder: Path, forecaster: Forecaster, dataset: Dataset, trained: Path, epoch: int | None
) -> None:
    (folder / "explanation").mkdir()
    path = folder / "explanation" / "explanation.json"
    path.write_text(json.dumps({"epoch": forecaster.info.epoch + 1 if epoch == 0 else epoch}))
    page = read(folder, forecaster, dataset, trained)
    assert "strength" not in page.words.partition("Config")[0]


def test_the_commands_write_it_and_an_explanation_comes_in(
    mmts: Command, trained: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    checkpoint = run / "best.mmts"
    checkpoint.write_bytes(trained.read_bytes())
    (run / "history.jsonl").write_bytes((trained.parent / "history.jsonl").read_bytes())
    done = mmts("evaluate", checkpoint)
    assert done.returncode == 0, done.stderr
    path = run / "evaluation" / "report.html"
    assert str(path) in done.stdout
    before = Reader(path.read_text())
    captions = ("How the losses fell", "What each stream holds, and when", "edges between them")
    assert all(caption in before.words for caption in captions)

    done = mmts("explain", checkpoint)
    assert done.returncode == 0, done.stderr
    after = Reader(path.read_text())
    assert "Measured on the test split" in after.words
    assert "residual: plan.1 → load.1" in after.cells
    assert after.tags.count("img") > before.tags.count("img")
    done = mmts("evaluate", checkpoint)
    assert done.returncode == 0, done.stderr
    again = Reader(path.read_text())
    assert again.cells == after.cells


def test_the_validation_split_has_a_folder_of_its_own(
    mmts: Command, trained: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "best.mmts"
    checkpoint.write_bytes(trained.read_bytes())
    done = mmts("evaluate", checkpoint, "--split", "validation")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "evaluation").iterdir()} == {"validation"}
    page = Reader((tmp_path / "evaluation/validation/report.html").read_text())
    assert "On the validation split" in page.words
