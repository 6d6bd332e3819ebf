"""What README shows must be true."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from mmts.config import load_config
from mmts.tuning.space import load_searched_config
from tests.conftest import ROOT, Command

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
