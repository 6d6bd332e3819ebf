"""What is installed beside mmts: pinned, hashed, and chosen for a reason."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from itertools import chain

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

CUDA = re.compile(r"(nvidia|cuda)-.*|triton")
"""Packages of torch's CUDA build, of which there is none in an environment with the CPU build."""


def pinned(text: str) -> dict[str, Requirement]:
    """Return the packages of a file of pins, by their normal names."""
    logical = re.sub(r"\\\n\s*", " ", text)
    lines = (line.partition(" --hash")[0].strip() for line in logical.splitlines())
    found = [Requirement(line) for line in lines if re.match(r"[\w.-]+==", line)]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


@pytest.fixture(scope="module")
def lock() -> str:
    return (ROOT / "requirements.lock").read_text()


@pytest.fixture(scope="module")
def project() -> str:
    return (ROOT / "pyproject.toml").read_text()


def test_every_package_of_the_lock_has_hashes(lock: str) -> None:
    entries = re.split(r"^(?=[a-z][\w.-]*==)", lock, flags=re.M)[1:]
    assert len(entries) == len(pinned(lock)) > 50
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]


def test_the_lock_holds_what_the_project_needs(lock: str, project: str) -> None:
    locked = pinned(lock)
    for text in tomllib.loads(project)["project"]["dependencies"]:
        needed = Requirement(text)
        (version,) = (part.version for part in locked[canonicalize_name(needed.name)].specifier)
        assert needed.specifier.contains(version), text


def test_the_lock_and_the_constraints_name_the_same_versions(lock: str) -> None:
    constraints = pinned((ROOT / "constraints.txt").read_text())
    for name, requirement in pinned(lock).items():
        marker = requirement.marker
        is_for_here = marker is None or marker.evaluate(dict(default_environment()))
        # `pip freeze`, which the constraints are made from, leaves setuptools out.
        if is_for_here and name != "setuptools" and not CUDA.fullmatch(name):
            assert requirement.specifier == constraints[name].specifier, name


def test_every_dependency_says_in_a_line_what_it_is_for(project: str) -> None:
    def reasons() -> Iterator[tuple[str, str]]:
        before = ""
        for line in (
            project.partition("dependencies = [")[2].partition("[project.scripts]")[0].splitlines()
        ):
            if found := re.match(r'\s*"([^"]+)",?\s*(#.*)?$', line):
                yield found[1], found[2] or before
            before = line.strip()

    told = dict(reasons())
    settings = tomllib.loads(project)["project"]
    for text in chain(settings["dependencies"], *settings["optional-dependencies"].values()):
        assert told[text].startswith("# "), text
