"""The house: who may import whom, how long a file may be, and what an import may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# From the ground up. A file imports only what stands before it; a folder stands for its files,
# among which the same holds in the order given, or in any order that has no circle.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "config_base", "kinds", "tokens", "formulas", "part_files", "files", "folder_lock",
     "interrupts", "child_processes", "gpu_lock",
     "score_text", "training.config", "tracking.secrets", "tracking.config", "tuning.config",
     "calibration.config"),
    ("config_yaml", "config_errors", "losses", "metrics", "calibration.conformal",
     "tracking.journal", "run_folders.description", "run_folders.names", "run_folders.history",
     "run_folders.evaluations", "run_folders.folder", "run_folders.comparison"),
    (
        "data.text", "data.config", "data.cache.digests", "data.cache.array_files",
        "data.cache.entries", "data.clock", "data.times", "data.schema", "data.table",
        "data.reading", "data.cache.spoken", "data.cache.tables", "data.calendar_features",
        "data.availability", "data.detection", "data.layout", "data.splits", "data.scaling",
        "data.row_search", "data.streams", "data.findings.coverage", "data.findings.finding",
        "data.findings.excerpt", "data.findings.leaks", "data.cache.datasets", "data.windows",
        "data.batch", "data.channels", "data.row_windows", "data.row_times", "data.stream_windows",
        "data.grid_rows", "data.phased_windows", "data.target_ahead", "data.gathering",
        "data.source_files", "data.dataset_faults", "data.dataset", "data.findings",
    ),
    ("layers", "linear", "inspection"),
    ("encoders", "interactions.alignment", "interactions.base", "interactions.centring"),
    ("interactions.as_of", "interactions.gathering", "interactions.attending"),
    ("interactions.residual", "interactions.film"),
    ("interactions.weighted", "interactions.attention", "interactions.joint"),
    ("interactions.bottleneck",),
    ("interactions.kinds", "interactions.graph", "interactions.presets", "testing", "baselines"),
    ("heads",),
    ("model",),
    ("config", "config_reference"),
    ("checkpoint_file", "checkpoint_versions", "checkpoint"),
    ("forecast_origins", "forecast_table", "forecast_warnings", "forecasting"),
    ("evaluation",),
    ("calibration.fitting",),
    ("explanation", "backtest"),
    ("plots", "summary", "report"),
    ("tracking", "serving", "training"),
    ("experiment",),
    ("backtest.refit", "backtest.run"),
    ("tuning",),
)  # fmt: skip

FILES = sorted((ROOT / "mmts").rglob("*.py"))
MAX_LINES = 400


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def floor_of(module: str) -> tuple[int, int]:
    """Return floor and place of a module, by the longest name that covers it."""
    name = module.removeprefix("mmts.")
    best = max(
        (entry for floor in FLOORS for entry in floor if f"{name}.".startswith(f"{entry}.")),
        key=len,
    )
    number = next(n for n, floor in enumerate(FLOORS) if best in floor)
    return number, FLOORS[number].index(best)


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "mmts":
            found |= {f"mmts.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mmts."):
            found.add(node.module or "")
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("mmts")}
    return found


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_every_import_names_the_whole_way(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        assert not (isinstance(node, ast.ImportFrom) and node.level), ast.unparse(node)
        # The package itself is for users.
        assert not (isinstance(node, ast.Import) and node.names[0].name == "mmts")


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_file_imports_only_lower_floors(path: Path) -> None:
    own = module_of(path)
    if own == "mmts" or path.name == "__init__.py":
        return
    for imported in imports_of(path):
        assert floor_of(imported) <= floor_of(own), f"{own} imports {imported} from above"
        assert not imported.startswith("mmts.pipelines")


def test_there_is_no_circle() -> None:
    needs = {module_of(path): imports_of(path) for path in FILES}
    done: set[str] = set()
    while len(done) < len(needs):
        ready = {
            m for m, wanted in needs.items() if m not in done and wanted & needs.keys() <= done
        }
        assert ready, f"a circle among {sorted(needs.keys() - done)}"
        done |= ready


@pytest.mark.parametrize(
    "path", [*FILES, *sorted((ROOT / "pipelines").glob("*.py"))], ids=module_of
)
def test_no_file_grows_past_the_mark(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_no_file_is_a_drawer_for_odds_and_ends() -> None:
    assert not {"utils", "helpers", "common", "misc"} & {path.stem for path in FILES}


def loaded_after(statement: str, *packages: str) -> set[str]:
    """Return which of these packages a new process has loaded after a statement."""
    code = f"import sys; {statement}; print(*[m for m in {packages!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return set(done.stdout.split())


def loaded_by(*arguments: object) -> set[str]:
    """Return the packages that the real command loads from its beginning to its end."""
    command = [sys.executable, "-X", "importtime", "-m", "mmts.pipelines.main"]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    lines = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


HEAVY = {
    "pytorch_lightning", "lightning_fabric", "lightning_utilities", "torchmetrics", "mlflow",
    "sqlalchemy", "sklearn", "scipy", "matplotlib", "PIL", "plotly", "rich", "holidays",
    "tensorboard", "sympy", "optuna",
}  # fmt: skip


def test_a_forecast_loads_neither_lightning_nor_mlflow_nor_scikit_learn(
    trained: Path, tmp_path: Path
) -> None:
    loaded = loaded_by("forecast", trained, "--output", tmp_path / "forecast.csv")
    assert {"torch", "pandas", "mmts"} <= loaded
    assert not loaded & HEAVY


def test_scores_load_no_lightning_either() -> None:
    for module in ("backtest.run", "evaluation", "calibration.fitting", "explanation"):
        assert not loaded_after(f"import mmts.{module}", "pytorch_lightning", "mlflow"), module


def test_help_loads_nothing_heavy() -> None:
    heavy = HEAVY | {"torch", "pandas", "numpy", "pyarrow", "yaml"}
    everything, of_a_command = loaded_by("--help"), loaded_by("forecast", "--help")
    of_a_search = loaded_by("tune", "--help")
    assert "typer" in everything & of_a_command & of_a_search
    assert not (everything | of_a_command | of_a_search) & heavy
    # Typer itself takes it to read the options of a command.
    assert "pydantic" not in everything
