"""What README shows must be true."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from mmts.config import load_config
from mmts.tuning.space import load_searched_config
from tests.conftest import ROOT, Command
from tests.factories import make_frames, make_settings, write_config, write_frames

README = (ROOT / "README.md").read_text()
BLOCKS = [textwrap.dedent(text) for text in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)]


def test_the_config_for_ones_own_data_loads(tmp_path: Path) -> None:
    (text,) = [block for block in BLOCKS if "my-load" in block]
    path = tmp_path / "load.yaml"
    path.write_text(text)
    config = load_config(path)
    assert list(config.data.streams) == ["load", "weather", "plan"]


def test_the_interactions_shown_are_valid(tmp_path: Path) -> None:
    (streams,) = [block for block in BLOCKS if "my-load" in block]
    (interactions,) = [block for block in BLOCKS if "interactions:" in block]
    path = tmp_path / "load.yaml"
    path.write_text(streams + interactions)
    assert len(load_config(path).model.interactions) > 4


def test_the_search_shown_is_valid(tmp_path: Path) -> None:
    (streams,) = [block for block in BLOCKS if "my-load" in block]
    (search,) = [block for block in BLOCKS if "tuning:" in block]
    path = tmp_path / "load.yaml"
    path.write_text(streams + search)
    assert len(load_searched_config(path).tuning.search) == 3


def test_the_python_shown_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = ("load", "weather", "plan")
    frames = {name: make_frames()[name] for name in names}
    settings = make_settings() | {"name": "my-load"}
    settings["data"]["streams"] = {name: settings["data"]["streams"][name] for name in names}
    del settings["model"]
    settings["training"] |= {"steps_per_epoch": 1, "patience": 1}
    write_frames(tmp_path, frames)
    write_config(tmp_path, settings).rename(tmp_path / "load.yaml")
    monkeypatch.chdir(tmp_path)
    known = dict(frames)
    exec(shown.replace('"training.max_epochs": 5', '"training.max_epochs": 1'), known)
    assert len(known["forecast"]) == 2 * 6
    load = known["load"]
    merged = load.merge(
        known["forecaster"].predict(known["frames"], "2024-01-10"),
        left_on=["item", "time"],
        right_on=["item_id", "timestamp"],
    )
    assert len(merged) == 2 * 6


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#:]+)\)", README))
def test_every_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


@pytest.mark.parametrize("folder", ["mmts", "pipelines", "configs", "data", "notebooks", "tests"])
def test_every_top_folder_is_in_the_map(folder: str) -> None:
    assert f"`{folder}/" in README
    assert (ROOT / folder).is_dir()


def test_every_command_shown_exists(mmts: Command) -> None:
    listed = mmts("--help").stdout
    for command in set(re.findall(r"^\s*mmts (\w+)", README, re.MULTILINE)):
        assert re.search(rf"^\s+{command}\b", listed, re.MULTILINE), command
