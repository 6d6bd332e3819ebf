"""Every input that was ever a fault, or a seed, and a short run of the fuzzers."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fuzz.targets import CORPUS, TARGETS

SEEDS = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_input_of_the_corpus_is_read_or_refused_in_words(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.slow
@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has no wheel for this Python")
@pytest.mark.parametrize("target", TARGETS)
def test_some_hundred_new_inputs_are_read_or_refused_in_words(
    request: pytest.FixtureRequest, tmp_path: Path, target: str
) -> None:
    runs = request.config.getoption("--fuzz-runs")
    command = [sys.executable, "-m", "tests.fuzz.run", target, "--runs", runs]
    done = subprocess.run(
        [*map(str, command), "--found", str(tmp_path)],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    failed = [path.name for path in tmp_path.glob("failed-*")]
    assert done.returncode == 0, f"{failed}\n{done.stderr[-4000:]}"
