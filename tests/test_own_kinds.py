"""The user's own kinds: from a package or from Python, never from a path in a file."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import yaml
from torch import Tensor, nn

import mmts as library
from mmts.config import ExperimentConfig, load_config
from mmts.data.batch import StreamWindow
from mmts.data.schema import StreamSchema
from mmts.encoders.base import Encoder, EncoderSettings, step_grid
from mmts.encoders.kinds import ENCODER_KINDS, register_encoder
from mmts.errors import CheckpointError, ConfigError, KindError
from mmts.experiment import train
from mmts.forecasting import Forecaster
from mmts.interactions.base import Interaction, InteractionSettings
from mmts.interactions.kinds import INTERACTION_KINDS, register_interaction
from mmts.layers.embedding import ColumnFeatures
from mmts.testing import check_interaction
from mmts.tokens import TokenGrid, Tokens
from tests.conftest import ROOT, Command
from tests.factories import make_frames, make_settings, write_config, write_world
from tests.test_checkpoint import metadata_of, rewrite

EXAMPLE = ROOT / "docs" / "examples" / "highway.py"


@pytest.fixture(autouse=True)
def nothing_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin each test as a new process would, and leave nothing behind."""
    forget(monkeypatch)
    yield
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    for kinds in (INTERACTION_KINDS, ENCODER_KINDS):
        monkeypatch.setattr(kinds, "_own", {})
        monkeypatch.setattr(kinds, "_installed", None)


def load_example() -> type[Interaction]:
    """Run the example anew, as a cell of a notebook would."""
    spec = importlib.util.spec_from_file_location("own_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["own_example"] = module
    spec.loader.exec_module(module)
    found: type[Interaction] = module.HighwayInteraction
    return found


def test_the_lines_in_the_docs_train_the_example(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "interactions.md").read_text()
    lines = textwrap.dedent(text.split("```python\n")[1].split("```")[0])
    settings = highway_settings()
    settings["training"]["steps_per_epoch"] = 2
    write_world(tmp_path, settings).rename(tmp_path / "load.yaml")
    done = subprocess.run(
        [sys.executable, "-c", lines],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(EXAMPLE.parent)])},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/highway/best.mmts").exists()


def install(
    folder: Path,
    package: str = "own-highway",
    version: str = "1.0",
    kind: str = "highway",
    source: str | None = None,
) -> Path:
    """Put a package with the example in it where an installed one would lie."""
    module = package.replace("-", "_")
    folder.mkdir(exist_ok=True)
    (folder / f"{module}.py").write_text(EXAMPLE.read_text() if source is None else source)
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(
        f"[mmts.interactions]\n{kind} = {module}:HighwayInteraction\n"
    )
    return folder


class SumConfig(EncoderSettings):
    kind: Literal["sum"] = "sum"


class SumLayer(nn.Module):
    def forward(self, tokens: Tensor, grid: TokenGrid) -> Tensor:
        return tokens + (tokens * grid.observed[..., None]).cumsum(dim=1)


class SumEncoder(Encoder):
    config_class = SumConfig
    causal = True

    def __init__(
        self, config: SumConfig, schema: StreamSchema, sizes: dict[str, int], time_unit: float
    ) -> None:
        super().__init__(config, schema, sizes, time_unit)
        self.features = ColumnFeatures(schema, sizes)
        self.project = nn.Linear(self.features.dim, config.dim)
        self.layers = nn.ModuleList(SumLayer() for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.dim)

    def embed(self, window: StreamWindow) -> Tokens:
        return Tokens(self.project(self.features(window)), step_grid(window, self.schema.is_static))


def highway_settings(**settings: Any) -> dict[str, Any]:
    made = make_settings()
    made["model"]["interactions"] = [
        {"kind": "highway", "from": "weather.1", "to": "load.2", **settings},
        {"preset": "last", "kind": "residual"},
    ]
    return made


def refuse(folder: Path, settings: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(write_config(folder, settings))
    return str(caught.value)


def test_the_example_trains_and_forecasts_and_is_missed_when_it_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.register_interaction(load_example())
    library.register_encoder(SumEncoder)
    settings = highway_settings(gate_bias=-2.0)
    settings["model"]["encoders"]["weather"] = {"kind": "sum", "dim": 8, "num_layers": 2}
    path = write_world(tmp_path / "world", settings)
    checkpoint = train(load_config(path), tmp_path / "run").checkpoint
    forecast = Forecaster.from_checkpoint(checkpoint).predict(make_frames())
    assert len(forecast) == 12

    recorded = metadata_of(checkpoint)
    assert recorded["own_kinds"] == [
        {"family": "interaction", "kind": "highway", "package": None, "version": None},
        {"family": "encoder", "kind": "sum", "package": None, "version": None},
    ]
    assert "own_example" not in str(recorded)
    assert "SumEncoder" not in str(recorded)

    forget(monkeypatch)
    with pytest.raises(CheckpointError) as caught:
        Forecaster.from_checkpoint(checkpoint)
    assert str(caught.value) == (
        f"{checkpoint}: the interaction kind 'highway' of a class registered in Python is needed, "
        "and there is none here. Register it first, with mmts.register_interaction(...).\n"
        f"{checkpoint}: the encoder kind 'sum' of a class registered in Python is needed, "
        "and there is none here. Register it first, with mmts.register_encoder(...)."
    )
    register_encoder(SumEncoder)
    register_interaction(load_example())
    again = Forecaster.from_checkpoint(checkpoint).predict(make_frames())
    assert again.equals(forecast)


def test_a_package_gives_its_kind_to_commands_and_checkpoints(
    mmts: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    packages = install(tmp_path / "packages")
    path = write_world(tmp_path / "world", highway_settings())
    with monkeypatch.context() as patched:
        patched.syspath_prepend(packages)
        assert "own_highway" not in sys.modules
        checkpoint = train(load_config(path), tmp_path / "run").checkpoint
        assert "own_highway" in sys.modules
    (recorded,) = metadata_of(checkpoint)["own_kinds"]
    assert recorded["package"] == "own-highway"
    assert recorded["version"] == "1.0"

    output = tmp_path / "forecast.csv"
    failed = mmts("forecast", checkpoint, "--output", output)
    assert failed.returncode == 2
    assert not output.exists()
    assert failed.stderr == (
        f"CheckpointError: {checkpoint}: the interaction kind 'highway' of package own-highway 1.0 "
        "is needed, and there is none here. Install own-highway 1.0, if you trust who made it.\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(packages))
    done = mmts("forecast", checkpoint, "--output", output)
    assert done.returncode == 0, done.stderr
    assert len(output.read_text().splitlines()) == 13

    forget(monkeypatch)
    monkeypatch.syspath_prepend(install(tmp_path / "newer", version="1.1"))
    with caplog.at_level(logging.WARNING, "mmts"):
        Forecaster.from_checkpoint(checkpoint)
    assert "of package own-highway 1.0 is needed; here is version 1.1" in caplog.text


def test_another_package_does_not_take_the_place_of_the_one_trained_with(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = {"family": "interaction", "kind": "highway", "package": "first", "version": "3"}
    changed = rewrite(trained, tmp_path / "a.mmts", own_kinds=[origin])
    monkeypatch.syspath_prepend(install(tmp_path / "packages"))
    with pytest.raises(CheckpointError, match=r"that kind is own-highway's\. Install first 3"):
        Forecaster.from_checkpoint(changed)
    builtin = rewrite(trained, tmp_path / "b.mmts", own_kinds=[{**origin, "kind": "film"}])
    with pytest.raises(CheckpointError, match="has a kind of its own by that name"):
        Forecaster.from_checkpoint(builtin)
    for words in ({"package": "x\x1b[2J"}, {"kind": "a.b:c"}, {"family": "model"}, {"path": "x"}):
        strange = rewrite(trained, tmp_path / "c.mmts", own_kinds=[origin | words])
        with pytest.raises(CheckpointError, match=r"damaged: own_kinds\.0"):
            Forecaster.from_checkpoint(strange)


def test_settings_of_an_own_kind_are_read_and_shown_like_any_other(tmp_path: Path) -> None:
    register_interaction(load_example())
    settings = highway_settings(max_lag="6h")
    config = load_config(write_config(tmp_path, settings))
    (shown, *_) = yaml.safe_load(config.to_yaml())["model"]["interactions"]
    assert shown == {
        "kind": "highway", "from": "weather.1", "to": "load.2", "gate_bias": -1.0,
        "name": "highway_weather.1_to_load.2", "causal": True, "max_lag": "6h", "dropout": 0.0,
    }  # fmt: skip
    assert ExperimentConfig.model_validate(config.to_json()) == config

    settings["model"]["interactions"][0] |= {"gate_bais": 1, "dropout": 2}
    settings["model"]["interactions"][1]["form"] = "x"
    settings["model"]["encoders"]["load"]["dims"] = 3
    told = refuse(tmp_path, settings)
    for words in (
        "model.interactions.0.gate_bais: unknown key; did you mean 'gate_bias'?",
        "model.interactions.0.dropout: 2 will not do",
        "model.interactions.1.form: unknown key; known are kind, preset.",
        "model.encoders.load.dims: unknown key; did you mean 'dim'?",
    ):
        assert words in told


def test_an_own_kind_obeys_the_rules_of_the_graph(tmp_path: Path) -> None:
    register_interaction(load_example())
    several = highway_settings(**{"from": ["weather.1", "news.1"]})
    assert "(highway, to load.2): takes one source, not 2" in refuse(tmp_path, several)


def test_a_preset_may_be_of_an_own_kind(tmp_path: Path) -> None:
    register_interaction(load_example())
    settings = make_settings()
    settings["model"]["interactions"] = [{"preset": "last", "kind": "highway"}]
    edges = load_config(write_config(tmp_path, settings)).model.interactions
    assert {type(edge).__name__ for edge in edges} == {"HighwayConfig"}

    class NeedyConfig(InteractionSettings):
        kind: Literal["needy"] = "needy"
        depth: int

    # A base class that is loaded from a file.
    class Needy(load_example()):  # type: ignore[misc]
        config_class = NeedyConfig

    register_interaction(Needy)
    settings["model"]["interactions"] = [{"preset": "last", "kind": "needy"}]
    told = refuse(tmp_path, settings)
    assert "model.interactions.0.kind: kind 'needy' cannot do without depth" in told


def test_an_unknown_kind_is_told_with_all_that_are_known(tmp_path: Path) -> None:
    register_interaction(load_example())
    settings = highway_settings(kind="hihgway")
    settings["model"]["interactions"][1]["kind"] = "residul"
    told = refuse(tmp_path, settings)
    assert "model.interactions.0: kind 'hihgway' is not known; choose one of 'residual'" in told
    assert "'bottleneck', 'highway', or install or register your own first" in told
    assert "own first; did you mean 'highway'?" in told
    assert "model.interactions.1.kind: kind 'residul' is not known" in told


def test_a_class_that_runs_again_takes_its_own_place_and_no_other(tmp_path: Path) -> None:
    register_interaction(load_example())
    again = register_interaction(load_example())
    assert INTERACTION_KINDS.module_class("highway") is again

    # A base class that is only a variable here.
    class Other(again):  # type: ignore[valid-type, misc]
        pass

    with pytest.raises(KindError, match=r"own_example\.HighwayInteraction has that name too"):
        register_interaction(Other)


class Plain(InteractionSettings):
    pass


class Film(InteractionSettings):
    kind: Literal["film"] = "film"


class Dotted(InteractionSettings):
    kind: Literal["a.b"] = "a.b"


class Unfinished(Interaction):
    config_class = Film


class Silent(Interaction):
    """Names no settings; it is refused before it could ever be run."""

    def contribute(self, target: Any, sources: Any) -> Tensor:
        raise NotImplementedError


def with_settings(settings: type) -> type:
    return type("Made", (Silent,), {"config_class": settings})


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (3, "3 is no subclass of Interaction"),
        (Film, "is no subclass of Interaction"),
        (Unfinished, "Unfinished lacks contribute"),
        (Silent, "Silent.config_class is no subclass of InteractionSettings"),
        (with_settings(Plain), "Plain does not name its kind"),
        (with_settings(Dotted), "Dotted does not name its kind"),
        (with_settings(Film), "kind 'film' is built in. Give yours another name"),
    ],
)
def test_a_class_that_cannot_be_a_kind_is_refused(module: Any, words: str) -> None:
    with pytest.raises(KindError, match=words):
        register_interaction(module)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import nothing_such", "ModuleNotFoundError: No module named 'nothing_such'. Repair"),
        ("1 / 0", "ZeroDivisionError: division by zero. Repair or reinstall the package."),
        ("", "has no attribute 'HighwayInteraction'. Repair"),
        ("HighwayInteraction = 3", "3 is no subclass of Interaction"),
    ],
)
def test_a_package_that_cannot_be_loaded_is_named_beside_all_other_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: str
) -> None:
    monkeypatch.syspath_prepend(install(tmp_path / "packages", source=source))
    settings = highway_settings()
    settings["training"]["batch_size"] = 0
    told = refuse(tmp_path, settings)
    assert "model.interactions.0: " in told
    assert "interaction kind 'highway' of package own-highway 1.0" in told
    assert words in told
    assert "training.batch_size" in told


def test_a_broken_package_ends_a_command_without_a_traceback(
    mmts: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = install(tmp_path / "packages", source="import nothing_such")
    monkeypatch.setenv("PYTHONPATH", str(packages))
    done = mmts("config", "show", write_config(tmp_path, highway_settings()))
    assert done.returncode == 2
    assert done.stderr == (
        f"ConfigError: {tmp_path / 'config.yaml'}:\n"
        "  model.interactions.0: the interaction kind 'highway' of package own-highway 1.0 cannot "
        "be loaded: ModuleNotFoundError: No module named 'nothing_such'. "
        "Repair or reinstall the package.\n"
    )


def test_two_givers_of_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = install(tmp_path / "packages")
    monkeypatch.syspath_prepend(packages)
    with pytest.raises(KindError, match=r"of package own-highway 1\.0 has that name too"):
        register_interaction(load_example())
    # The class of the package itself is no other giver.
    module = importlib.import_module("own_highway").HighwayInteraction
    register_interaction(module)
    (origin,) = INTERACTION_KINDS.origins(["highway", "film"])
    assert origin.package == "own-highway"

    forget(monkeypatch)
    install(packages, "own-road")
    told = refuse(tmp_path, highway_settings())
    assert "given by several packages: package own-" in told
    assert "Uninstall all but one." in told
    for name in ("own_road-1.0.dist-info", "own_highway-1.0.dist-info"):
        shutil.rmtree(packages / name)

    install(packages, "own-film", kind="film")
    forget(monkeypatch)
    settings = make_settings()
    settings["model"]["interactions"] = [{"kind": "film", "from": "weather.1", "to": "load.2"}]
    told = refuse(tmp_path, settings)
    assert "model.interactions.0: interaction kind 'film' is built in, and package own-film" in told


def test_an_entry_point_has_the_name_of_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(install(tmp_path / "packages", kind="road"))
    told = refuse(tmp_path, highway_settings(kind="road"))
    assert "HighwayConfig says kind 'highway'. The entry point must have the name" in told


def test_the_example_keeps_to_the_rules_of_all_kinds() -> None:
    register_interaction(load_example())
    check_interaction("highway")
    check_interaction("highway", gate_bias=2.0, causal=False)


def adds_a_bias(edge: Any, target: Tokens, sources: Sequence[Tokens]) -> Tensor:
    return edge.projection(edge.reader(target.grid, sources[0])[0]) + 1


def multiplies_two_zeros(edge: Any, target: Tokens, sources: Sequence[Tokens]) -> Tensor:
    values, _ = edge.reader(target.grid, sources[0])
    return edge.projection(values) * edge.projection(values)


def forgets_the_mask(edge: Any, target: Tokens, sources: Sequence[Tokens]) -> Tensor:
    ones = torch.ones_like(sources[0].grid.observed)
    grid = replace(sources[0].grid, observed=ones)
    return edge.projection(edge.reader(target.grid, Tokens(sources[0].values, grid))[0])


def looks_ahead(edge: Any, target: Tokens, sources: Sequence[Tokens]) -> Tensor:
    (source,) = sources
    known = torch.full_like(source.grid.available, -torch.inf)
    grid = replace(source.grid, available=known)
    return edge.projection(edge.reader(target.grid, Tokens(source.values, grid))[0])


@pytest.mark.parametrize(
    ("contribute", "words"),
    [
        (adds_a_bias, "it adds something at first"),
        (multiplies_two_zeros, "weights without a gradient after two steps: .*projection"),
        (forgets_the_mask, "where nothing of the source is observed"),
        (looks_ahead, "or came later than the token that reads"),
    ],
)
def test_a_kind_that_breaks_a_rule_is_told_which(contribute: Any, words: str) -> None:
    # A base class that is loaded from a file.
    class Broken(load_example()):  # type: ignore[misc]
        def contribute(self, target: Tokens, sources: Sequence[Tokens]) -> Tensor:
            # Every weight counts, at least a little, unless the rule is about that.
            values, _ = self.reader(target.grid, sources[0])
            gate = self.gate(torch.cat([target.values, values], dim=-1))
            lively = 0 if contribute is multiplies_two_zeros else gate * self.projection(values)
            return contribute(self, target, sources) + lively

    register_interaction(Broken)
    with pytest.raises(AssertionError, match=words):
        check_interaction("highway")


def test_an_own_encoder_is_read_and_refused_like_any_other(tmp_path: Path) -> None:
    settings = make_settings()
    settings["model"]["encoders"]["weather"] = {"kind": "sum", "num_layer": 2}
    told = refuse(tmp_path, settings)
    assert "model.encoders.weather: kind 'sum' is not known; choose one of 'patch'" in told
    register_encoder(SumEncoder)
    told = refuse(tmp_path, settings)
    assert "encoders.weather.num_layer: unknown key; did you mean 'num_layers'?" in told
    with pytest.raises(KindError, match="is no subclass of Encoder"):
        register_encoder(load_example())  # type: ignore[type-var]


def test_importing_looks_for_no_package() -> None:
    looked = "import mmts.forecasting; from mmts.interactions.kinds import INTERACTION_KINDS as i; "
    looked += (
        "from mmts.encoders.kinds import ENCODER_KINDS as e; print(i._installed, e._installed)"
    )
    done = subprocess.run(
        [sys.executable, "-c", looked], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == "None None\n"


def test_an_import_path_is_no_kind(tmp_path: Path) -> None:
    told = refuse(tmp_path, highway_settings(kind="own_example:HighwayInteraction"))
    assert "kind 'own_example:HighwayInteraction' is not known" in told


def test_the_json_schema_leaves_room_for_own_kinds() -> None:
    schema = ExperimentConfig.model_json_schema(by_alias=True)["$defs"]["ModelConfig"]
    _, edge = schema["properties"]["interactions"]["items"]["oneOf"]
    built_in, own = edge["anyOf"]
    assert "film" in built_in["discriminator"]["mapping"]
    assert own["required"] == ["from", "kind", "to"]
    assert "film" in own["properties"]["kind"]["not"]["enum"]
