"""Write docs/dependencies.md: what each package is for, and under which licence it stands.

    python docs/make_dependencies.py

What it is for is the comment beside it in pyproject.toml; licences are those that the installed
packages name themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]

HEAD = """# Dependencies

What `pip install mmts` brings along. `requirements.lock` holds all of it with exact versions and \
hashes, for Linux, macOS and Windows; `constraints.txt` the same versions with the tools of \
development beside them. This page is written by `python docs/make_dependencies.py`.

## Chosen, and what for

| package | what it is for |
| --- | --- |
{chosen}

## Extras

| package | what it is for |
| --- | --- |
{extras}

## All of them, and their licences

As each package names its own licence, in SPDX's words where it does. Packages of NVIDIA come \
along on Linux where torch is the CUDA build.

| package | version | licence |
| --- | --- | --- |
{licences}
"""

REQUIREMENT = re.compile(r'^\s*"(?P<name>[\w.-]+)(?P<range>[^"]*)",?(\s*# (?P<purpose>.+))?$')
COMMENT = re.compile(r"^\s*# (?P<purpose>.+)$")
PINNED = re.compile(r"^(?P<name>[a-z][\w.-]*)==(?P<version>[^\s;]+)")

NVIDIA = "NVIDIA's own"
STATED_ELSEWHERE = {
    "huey": "MIT",
    "skops": "MIT",
    "mlflow": "Apache-2.0",
    "mlflow-skinny": "Apache-2.0",
    "mlflow-tracing": "Apache-2.0",
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
    "cuda-bindings": NVIDIA,
    "cuda-pathfinder": "Apache-2.0",
    "cuda-toolkit": NVIDIA,
    "pywin32": "PSF-2.0",
    "triton": "MIT",
    "waitress": "ZPL-2.1",
}
"""Licences of packages whose metadata name none, or hold its whole text, or which belong to another
platform."""

SHORT = {
    "Apache Software License": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "BSD License": "BSD",
    "BSD 3-Clause License": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT license": "MIT",
    "Python Software Foundation License": "PSF-2.0",
}
LONGEST = 30
"""Characters; what is longer in the field of the licence is its text."""


def main() -> None:
    """Write the page."""
    (ROOT / "docs/dependencies.md").write_text(render(), encoding="utf-8")


def render() -> str:
    """Return the page."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed, _, rest = text.partition("[project.optional-dependencies]")
    extras = rest.partition("[project.scripts]")[0]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    return HEAD.format(
        chosen="\n".join(_rows(needed)),
        extras="\n".join(_rows(extras)),
        licences="\n".join(
            f"| {found['name']} | {found['version']} | {find_licence(found['name'])} |"
            for found in map(PINNED.match, lock.splitlines())
            if found
        ),
    )


def _rows(text: str) -> Iterator[str]:
    above = ""
    for line in text.splitlines():
        if found := REQUIREMENT.match(line):
            # Extras of mmts itself are told where they are defined.
            if found["name"] != "mmts":
                yield f"| {found['name']} | {found['purpose'] or above} |"
        elif comment := COMMENT.match(line):
            above = comment["purpose"]


def find_licence(name: str) -> str:
    """Return the licence of a package; raises ValueError where nobody states it."""
    if name in STATED_ELSEWHERE:
        return STATED_ELSEWHERE[name]
    if name.startswith("nvidia-"):
        return NVIDIA
    try:
        stated = metadata(name)
    except PackageNotFoundError:
        raise ValueError(f"{name}: is not installed; add its licence to STATED_ELSEWHERE") from None
    expression, field = stated.get("License-Expression"), stated.get("License") or ""
    if expression:
        return str(expression)
    if 0 < len(field) <= LONGEST and "\n" not in field:
        return SHORT.get(field, field)
    known = [
        SHORT.get(word := line.rpartition(" :: ")[2], word)
        for line in stated.get_all("Classifier") or []
        if line.startswith("License :: ") and not line.endswith("OSI Approved")
    ]
    if not known:
        raise ValueError(f"{name}: names no licence; add it to STATED_ELSEWHERE")
    return " AND ".join(known)


if __name__ == "__main__":
    main()
