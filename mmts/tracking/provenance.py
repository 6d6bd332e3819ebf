"""Where a run comes from: the command, the code and the machine."""

from __future__ import annotations

import getpass
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

_PATIENCE = 5.0
"""Seconds to wait for git, which may lie on a slow disk."""


def describe_source(arguments: Sequence[str]) -> dict[str, str]:
    """Return who started a run, and by which command, as tags, most of which the MLflow UI knows.

    arguments: the name of the program, and what it was called with. The UI cuts the name of a
    source at its last slash, so that the whole command has a tag of its own.
    """
    program = _say_program(Path(arguments[0]))
    subcommand = [word for word in arguments[1:2] if word.isalpha()]
    tags = {
        "mlflow.source.name": " ".join([*program, *subcommand]),
        "mlflow.source.type": "LOCAL",
        "command": shlex.join([*program, *arguments[1:]]),
    }
    # In a container a user id need not have a name.
    with suppress(KeyError, OSError):
        tags["mlflow.user"] = getpass.getuser()
    return tags


def describe_commit(folder: Path) -> dict[str, str]:
    """Return the commit that is checked out in a folder, as tags that the MLflow UI knows.

    Empty where that is no git repository, or where there is no git. Dirty is one in which a file
    that git knows was changed since; a new one is not counted, as a folder of runs would be.
    """
    commit = _ask_git(folder, "rev-parse", "--verify", "HEAD")
    if not commit:
        return {}
    tags = {"mlflow.source.git.commit": commit}
    branch = _ask_git(folder, "symbolic-ref", "--short", "--quiet", "HEAD")
    if branch:
        tags["mlflow.source.git.branch"] = branch
    changed = _ask_git(folder, "status", "--porcelain", "--untracked-files=no")
    if changed is not None:
        tags["mlflow.source.git.dirty"] = "true" if changed else "false"
    return tags


def name_device(accelerator: str) -> str:
    """Name what a training runs on; accelerator: `auto`, `cpu`, `gpu` or `mps`.

    A GPU that is not trained on is not asked: to be asked takes up some of its memory.
    """
    import torch

    if accelerator in ("auto", "gpu") and torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    if accelerator in ("auto", "mps") and torch.backends.mps.is_available():
        return f"mps of {platform.machine()}"
    return _name_processor()


def describe_environment() -> dict[str, Any]:
    """Return the machine and every installed package, as plain JSON values."""
    import torch

    packages = {
        found.metadata["Name"]: found.version for found in distributions() if found.metadata["Name"]
    }
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _name_processor(),
        "cores": os.cpu_count(),
        "torch": {"threads": torch.get_num_threads(), "cuda": torch.version.cuda},
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }


def _say_program(path: Path) -> list[str]:
    """Name a program as it is called, be it `python -m package.module` or a script."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.origin == str(path):
        return ["python", "-m", spec.name]
    return [path.name]


def _ask_git(folder: Path, *words: str) -> str | None:
    """Return what git answers; None where it does not, whatever the reason."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
            # So that nothing of the user's repository is written, or asked for.
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _name_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
