"""Name the packages; everything else stands in pyproject.toml.

The folder pipelines/ is installed as mmts.pipelines, so that no generic name lands beside other
people's packages. pyproject.toml can map a folder so, or find packages by itself, but not both.
"""

from setuptools import find_namespace_packages, setup


def find(folder: str) -> list[str]:
    return find_namespace_packages(include=[folder, f"{folder}.*"], exclude=["*.__pycache__"])


setup(
    packages=find("mmts") + [f"mmts.{name}" for name in find("pipelines")],
    package_dir={"mmts.pipelines": "pipelines"},
    package_data={"mmts": ["py.typed"], "mmts.report": ["*.j2"]},
)
