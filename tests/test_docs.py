"""The documents: pages written from the code are up to date, links lead somewhere, lines work."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from mmts.config import load_config
from mmts.config_reference import write_reference
from mmts.config_yaml import read_yaml
from mmts.data.config import DataConfig, StreamConfig
from mmts.errors import MmtsError
from mmts.forecasting import Forecaster
from mmts.model import ModelConfig
from mmts.tuning.config import TuningConfig
from pipelines.main import app
from tests.conftest import ROOT
from tests.factories import make_frames, make_settings, write_config

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks_of(path: Path, language: str) -> list[str]:
    """Return the blocks of a language, also those inside of lists."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", path.read_text(), re.DOTALL | re.M)
    return [textwrap.dedent(text) for _, text in found]


def load_script(name: str) -> ModuleType:
    """Return one of the scripts that write pages, which are no part of a package."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def make_errors() -> ModuleType:
    """Return the script that writes the page of errors."""
    return load_script("make_errors")


def test_the_page_of_keys_is_up_to_date() -> None:
    written = (DOCS / "config.md").read_text()
    assert written == write_reference(), "run `mmts config reference > docs/config.md`"


def test_the_page_of_errors_is_up_to_date(make_errors: ModuleType) -> None:
    written = (DOCS / "errors.md").read_text()
    assert written == make_errors.write_page(), "run `python docs/make_errors.py`"


def test_the_page_of_dependencies_is_up_to_date() -> None:
    written = (DOCS / "dependencies.md").read_text()
    assert written == load_script("make_dependencies").render(), (
        "run `python docs/make_dependencies.py`"
    )


def test_the_page_of_errors_has_every_class() -> None:
    def below(kind: type[MmtsError]) -> set[str]:
        return {kind.__name__}.union(*map(below, kind.__subclasses__()))

    classes = {name for name in below(MmtsError) if name != "MmtsError"}
    assert set(re.findall(r"^## (\w+)", (DOCS / "errors.md").read_text(), re.M)) == classes


MESSAGES = re.findall(r"^- `+ ?(.*?) ?`+$", (DOCS / "errors.md").read_text(), re.M)


def is_on_the_page(said: str) -> bool:
    def pattern(message: str) -> str:
        parts = re.split(r"<[^<>]*>|\.\.\.", message)
        return ".*".join(map(re.escape, parts))

    return any(re.search(pattern(message), said) for message in MESSAGES)


FAULTS: dict[str, dict[str, Any]] = {
    "an unknown key": {"traning": {}},
    "a kind that is not known": {"model": {"encoders": {"load": {"kind": "patsch"}}}},
    "no duration": {"data": {"streams": {"weather": {"delay": "soon"}}}},
    "two roles": {"data": {"streams": {"weather": {"past": ["a"], "future": ["a"]}}}},
    "no node": {"model": {"interactions": [{"kind": "film", "from": "weather", "to": "load.1"}]}},
    "no such layer": {
        "model": {"interactions": [{"kind": "film", "from": "weather.9", "to": "load.1"}]}
    },
    "a circle": {
        "model": {
            "interactions": [
                {"kind": "film", "from": "weather.1", "to": "load.1"},
                {"kind": "film", "from": "load.1", "to": "weather.1"},
            ]
        }
    },
    "levels that fall": {"model": {"head": {"kind": "quantile", "quantile_levels": [0.9, 0.5]}}},
    "no value of a list": {"training": {"accelerator": "tpu"}},
}


def changed(settings: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    for key, value in change.items():
        inner = settings.get(key)
        is_group = isinstance(value, dict) and isinstance(inner, dict) and "kind" not in value
        settings[key] = changed(inner, value) if is_group else value
    return settings


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_config_is_refused_with_is_on_the_page(tmp_path: Path, fault: str) -> None:
    path = write_config(tmp_path, changed(make_settings(), FAULTS[fault]))
    with pytest.raises(MmtsError) as caught:
        load_config(path)
    told = [line for line in str(caught.value).splitlines() if not line.endswith("yaml:")]
    assert told
    for line in told:
        assert is_on_the_page(line), line


def test_what_files_and_forecasts_are_refused_with_is_on_the_page(
    trained: Path, tmp_path: Path
) -> None:
    frames = make_frames()
    forecaster = Forecaster.from_checkpoint(trained)
    without_column = frames["load"].iloc[:, :-1]
    wrong_cell = tmp_path / "load.csv"
    lines = frames["load"].to_csv(index=False).splitlines()
    lines[5] = lines[5].rpartition(",")[0] + ",calm"
    wrong_cell.write_text("\n".join(lines))
    attempts = [
        lambda: Forecaster.from_checkpoint(tmp_path / "none.mmts"),
        lambda: Forecaster.from_checkpoint(wrong_cell),
        lambda: load_config(tmp_path / "none.yaml"),
        lambda: forecaster.predict({"lode": frames["load"]}),
        lambda: forecaster.predict({**frames, "load": without_column}),
        lambda: forecaster.predict({**frames, "load": wrong_cell}),
        lambda: forecaster.predict({**frames, "load": frames["load"].iloc[:0]}),
        lambda: forecaster.predict(frames, origin="soon"),
        lambda: forecaster.predict(frames, origin="1999-01-01"),
    ]
    for attempt in attempts:
        with pytest.raises(MmtsError) as caught:
            attempt()
        assert is_on_the_page(str(caught.value)), caught.value


def test_not_everything_is_on_the_page() -> None:
    assert not is_on_the_page("data/load.csv: the moon is made of cheese. Give another moon.")
    assert not is_on_the_page("nothing")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_has_every_page(site: Path) -> None:
    for page in DOCS.rglob("*.md"):
        assert (site / page.relative_to(DOCS)).with_suffix(".html").is_file()
    assert not list(site.rglob("make_*"))


def test_the_site_fetches_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        for tag in re.findall(
            r"<(?:script|link|img|iframe|source|object)\b[^>]*>", page.read_text()
        ):
            assert not re.search(r"""(?:src|href|data)=["']?(?:https?:)?//""", tag), (page, tag)
    for sheet in site.rglob("*.css"):
        found = re.search(r"""(?:url\(|@import)\s*["']?(?:https?:)?//""", sheet.read_text())
        assert found is None, sheet


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:\s]+)[^):]*\)", page.read_text()):
        assert (page.parent / target).exists(), target


def whole_lines(block: str) -> Iterator[str]:
    """Yield what a shell takes for a line: a quoted text may go over several."""
    held = ""
    for line in block.splitlines():
        held += line + "\n"
        if held.count("'") % 2 == 0:
            yield held
            held = ""


def commands_in(page: Path) -> Iterator[list[str]]:
    for block in blocks_of(page, "sh"):
        for line in whole_lines(block):
            words = shlex.split(line, comments=True)
            names = [Path(word).name for word in words]
            if "mmts" in names:
                yield words[names.index("mmts") + 1 :]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_shown_has_the_options_shown(page: Path) -> None:
    for words in commands_in(page):
        command: Any = typer.main.get_command(app)
        while words and hasattr(command, "commands") and not words[0].startswith("-"):
            assert words[0] in command.commands, words
            command, words = command.commands[words[0]], words[1:]
        known = {option for parameter in command.params for option in parameter.opts}
        known |= {option for parameter in command.params for option in parameter.secondary_opts}
        for word in words:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, words


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_yaml_shown_is_understood(page: Path, tmp_path: Path) -> None:
    for block in blocks_of(page, "yaml"):
        (tmp_path / "shown.yaml").write_text(block)
        for key, value in read_yaml(tmp_path / "shown.yaml").items():
            if key == "model":
                ModelConfig.model_validate(value)
            elif key == "tuning":
                TuningConfig.model_validate(value)
            elif key == "data" and "streams" in value:
                for stream in value["streams"].values():
                    StreamConfig.model_validate(stream)
            elif key == "data":
                assert set(value) <= set(DataConfig.model_fields)
            elif isinstance(value, dict) and {"path", "calendar"} & set(value):
                StreamConfig.model_validate(value)


def test_every_notebook_is_named_on_some_page() -> None:
    shown = "\n".join(page.read_text() for page in PAGES)
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"notebooks/{notebook.name}" in shown, notebook.name


def blocks_in_order(page: Path) -> list[tuple[str, str]]:
    """Return commands and what they print, as they follow each other."""
    return re.findall(r"^```(sh|text)\n(.*?)^```", page.read_text(), re.DOTALL | re.M)


def without_numbers(text: str) -> list[str]:
    """Return lines in which every number is the same, and every gap a blank."""
    lines = re.sub(r"\d[\d.,:TZ%-]*", "0", text).splitlines()
    return [" ".join(line.split()) for line in lines]


@pytest.mark.slow
def test_the_tutorial_prints_what_it_shows(tmp_path: Path) -> None:
    """But for numbers, and for the words of a score, which depend on them."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "mmts"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mmts.pipelines.main "$@"\n')
    command.chmod(0o755)
    paths = [str(command.parent), *os.environ["PATH"].split(os.pathsep)]
    environment = {
        **os.environ,
        "PATH": os.pathsep.join(paths),
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "100",
        "OMP_NUM_THREADS": "1",
    }
    said, scores = "", False
    for language, text in blocks_in_order(DOCS / "tutorial.md"):
        if language == "sh" and "mmts ui" not in text:
            done = subprocess.run(
                ["bash", "-ec", text],
                capture_output=True,
                text=True,
                cwd=tmp_path,
                env=environment,
                check=False,
            )
            assert done.returncode == 0, (text, done.stderr)
            said = done.stderr + done.stdout
            scores = re.search(r"mmts (train|evaluate|explain)", text) is not None
        elif language == "text" and not scores:
            printed = without_numbers(said)
            for line in without_numbers(text):
                assert line == "..." or line in printed, line
