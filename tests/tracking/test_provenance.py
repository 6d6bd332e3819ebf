"""Where a run comes from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mmts.tracking.provenance import describe_commit, describe_environment, describe_source


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=mine")
    (folder / "config.yaml").write_text("seed: 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def test_a_repository_tells_its_commit(repository: Path) -> None:
    (repository / "sub").mkdir()
    assert describe_commit(repository / "sub") == {
        "mlflow.source.git.commit": git(repository, "rev-parse", "HEAD"),
        "mlflow.source.git.branch": "mine",
        "mlflow.source.git.dirty": "false",
    }


def test_a_changed_file_makes_it_dirty_and_a_new_one_does_not(repository: Path) -> None:
    (repository / "runs").mkdir()
    (repository / "runs" / "new.txt").write_text("new")
    assert describe_commit(repository)["mlflow.source.git.dirty"] == "false"
    (repository / "config.yaml").write_text("seed: 2\n")
    assert describe_commit(repository)["mlflow.source.git.dirty"] == "true"


def test_a_commit_that_is_on_no_branch_is_told_without(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "--detach")
    assert set(describe_commit(repository)) == {
        "mlflow.source.git.commit",
        "mlflow.source.git.dirty",
    }


@pytest.mark.parametrize("is_repository", [True, False])
def test_without_a_commit_nothing_is_told(tmp_path: Path, is_repository: bool) -> None:
    if is_repository:
        git(tmp_path, "init", "--quiet")
    assert describe_commit(tmp_path) == {}
    assert describe_commit(tmp_path / "missing") == {}


def test_without_git_nothing_is_told(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert describe_commit(repository) == {}


def test_the_source_is_the_command_as_it_was_typed() -> None:
    tags = describe_source(["/usr/bin/mmts", "train", "my load.yaml"])
    assert tags["command"] == "mmts train 'my load.yaml'"
    assert tags["mlflow.source.name"] == "mmts train"
    assert tags["mlflow.source.type"] == "LOCAL"


def test_a_script_is_its_own_source() -> None:
    tags = describe_source(["/home/me/tools/nightly.py", "/data/load.yaml"])
    assert tags["mlflow.source.name"] == "nightly.py"
    assert tags["command"] == "nightly.py /data/load.yaml"


def test_the_environment_names_every_package() -> None:
    found = describe_environment()
    assert {"torch", "numpy", "mlflow"} <= set(found["packages"])
    assert found["python"].startswith("3.")
    assert found["torch"]["threads"] >= 1
