"""The synthetic task: its closed forms, what is known when, and the command."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import cross_layer
import cross_runs
import pytest
import torch
from codes import CODES, SwitchCode
from cross_layer import check_floor, main
from cross_runs import Run, describe_model, perform
from cross_variants import (
    DIM,
    SETUPS,
    build_model,
    build_task,
    configure,
    configure_equal,
    count_weights,
    list_variants,
)
from regimes import NOISE_VARIANCE, STEP, RegimeTask

from mmts.data.batch import Batch
from mmts.data.gathering import WindowGatherer
from mmts.data.streams import Stream, prepare_search
from mmts.data.windows import Windows
from mmts.interactions.alignment import Reach, align, visible_tokens
from mmts.tokens import Tokens


@pytest.fixture(autouse=True)
def few_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_layer, "NUM_TEST", 50)
    for name in ("NUM_TEST", "NUM_VALIDATION"):
        monkeypatch.setattr(cross_runs, name, 50)


def plan(task: str, variant: str, regimes: int) -> Run:
    return Run(
        task=task, variant=variant, seed=1, learning_rate=3e-3, steps=2, batch=4,
        regimes=regimes, channels=4, tokens=12, world=1,
        model=describe_model(task, variant, 0.0, regimes),
    )  # fmt: skip


def draw(task: RegimeTask, num_windows: int = 3) -> Batch:
    return task.batch(task.sample(num_windows, torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("num_regimes", [2, 3, 5, 8])
def test_regimes_are_unit_vectors_whose_mean_has_half_the_squared_length(num_regimes: int) -> None:
    vectors = RegimeTask(num_regimes).vectors
    ones = torch.ones(num_regimes, dtype=torch.float64)
    torch.testing.assert_close(vectors.norm(dim=1), ones)
    assert float(vectors.mean(dim=0).square().sum()) == pytest.approx(0.5)


def test_one_regime_leaves_nothing_to_tell() -> None:
    task = RegimeTask(num_regimes=1)
    assert task.best_without_codes == pytest.approx(task.floor)


def test_the_closed_forms_hold_on_drawn_windows() -> None:
    task = RegimeTask()
    sample = task.sample(100_000, torch.Generator().manual_seed(5))
    without = (sample.target - task.forecast_without_codes(sample.tokens)).square().mean()
    assert task.best_without_codes == pytest.approx(0.80, abs=0.005)
    assert float(without) == pytest.approx(task.best_without_codes, abs=0.02)
    assert float(sample.target.var()) == pytest.approx(task.variance, abs=0.02)
    assert float(sample.unexplained.square().mean()) == pytest.approx(NOISE_VARIANCE, abs=0.002)


def test_both_tokens_of_a_pair_read_its_code_and_no_later_one() -> None:
    task = RegimeTask()
    variant = list_variants("regimes")["residual@2"]
    model = build_model(task, configure("regimes", variant, 0.0), seed=1)
    batch = draw(task)
    target = model.encoders["[B]"].embed(batch.streams["B"]).grid
    source = model.encoders["[A]"].embed(batch.streams["A"])
    codes = Tokens(batch.streams["A"].values, source.grid)
    aligned = align(target, codes, Reach())
    torch.testing.assert_close(aligned.values, codes.values.repeat_interleave(2, dim=1))
    assert aligned.present.all()
    visible = visible_tokens(target, source.grid, Reach())[0].sum(dim=-1)
    assert visible.tolist() == [pair for pair in range(1, 7) for _ in range(2)]


def test_a_batch_is_what_the_data_pipeline_would_gather() -> None:
    task = RegimeTask()
    sample = task.sample(1, torch.Generator().manual_seed(1))
    expected, schema = task.batch(sample), task.schema()
    streams = {}
    for name, stream in schema.streams.items():
        window = expected.streams[name]
        values, observed = window.values[0], window.observed[0]
        if name == "B":
            # One row more: the target that comes after the window.
            after = torch.zeros_like(values[:1])
            after[0, 0] = sample.target[0]
            values = torch.cat([values, after])
            observed = torch.cat([observed, after != 0])
        spacing = STEP * task.num_tokens // len(window.values[0])
        times = spacing * torch.arange(len(values))
        stream_of_one = Stream(
            schema=stream,
            values=values,
            observed=observed,
            begin=torch.tensor([0]),
            end=torch.tensor([len(values)]),
            first_time=torch.tensor([0]),
            event_times=times[:0] if stream.is_regular else times,
            available=times[:0],
        )
        streams[name] = replace(stream_of_one, search=prepare_search(stream_of_one))
    origins = torch.tensor([task.num_tokens * STEP])
    windows = Windows(torch.zeros(1, dtype=torch.int32), origins)
    gathered = WindowGatherer(schema, streams, windows).gather(torch.tensor([0]))
    torch.testing.assert_close(gathered.target, expected.target)
    torch.testing.assert_close(gathered.step_edges, expected.step_edges)
    for name, window in expected.streams.items():
        for field in ("values", "observed", "start", "end", "available"):
            torch.testing.assert_close(
                getattr(gathered.streams[name], field),
                getattr(window, field),
                msg=f"{name} {field}",
            )


@pytest.mark.parametrize(
    ("task", "variant", "num_edges"),
    [
        ("regimes", "none", 0),
        ("regimes", "late-attention-wide", 1),
        ("regimes", "weighted@0+noise", 2),
        ("regimes", "beside", 0),
        ("switches", "beside-all", 0),
        ("switches", "early-film@1", 1),
        ("switches", "ladder", 2),
    ],
)
def test_a_variant_is_measured(task: str, variant: str, num_edges: int) -> None:
    found = perform(plan(task, variant, SETUPS[task].regimes), threads=1)
    assert 0.5 < found["test"] < 4
    assert (found["test_without_A"] is None) == variant.startswith("beside")
    assert len(found["edges"]) == num_edges
    for edge in found["edges"].values():
        assert edge["strength"] > 0
        assert edge["standard_error"] > 0


def test_an_edge_that_adds_nothing_costs_nothing() -> None:
    run = replace(plan("switches", "film@1", 2), steps=0)
    (edge,) = perform(run, threads=1)["edges"].values()
    assert edge == {"strength": 0.0, "cost": 0.0, "standard_error": 0.0}


def test_a_run_is_another_one_with_other_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan("switches", "film@1", 2)
    setup = SETUPS["switches"]
    deeper = {**setup.encoders, "A": {**setup.encoders["A"], "num_layers": 3}}
    monkeypatch.setitem(SETUPS, "switches", replace(setup, encoders=deeper))
    assert plan("switches", "film@1", 2) != before


def test_no_rival_has_fewer_weights_than_the_edge_between_layers() -> None:
    def count(name: str) -> tuple[int, int]:
        variant = list_variants("switches")[name]
        task = build_task("switches", variant, 2, 4, 12, 1)
        config = configure_equal("switches", variant, task, 0.0)
        return count_weights(task, config), config.encoders["B"].dim

    wanted, width = count("film@1")
    assert width == DIM
    for name in ("none", "beside-all", "early-film@1", "early-attention@0", "late-residual"):
        assert count(name)[0] >= 0.95 * wanted
    assert count("late-film") == (wanted, DIM)


@pytest.mark.parametrize("num_regimes", [1, 2, 4, 8])
def test_regimes_follow_from_all_switches_that_were_thrown(num_regimes: int) -> None:
    regimes = torch.randint(num_regimes, (5, 6), generator=torch.Generator().manual_seed(1))
    code = SwitchCode(num_regimes)
    stands = code.encode(regimes).cumprod(dim=1)
    digits = ((1 - stands) / 2).long()
    assert torch.equal((digits << torch.arange(len(code.names))).sum(dim=-1), regimes)


def test_no_single_event_but_the_first_tells_of_a_regime() -> None:
    generator = torch.Generator().manual_seed(1)
    sample = RegimeTask(2, code=SwitchCode(2)).sample(50_000, generator)
    signs = 1.0 - 2.0 * sample.regimes.double()
    events = sample.codes[..., 0].double()
    told = signs.T @ events / len(sample)
    expected = torch.zeros(6, 6, dtype=torch.float64)
    expected[0, 0] = 1
    torch.testing.assert_close(told, expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("lags", [1, 6])
def test_events_beside_the_own_columns_are_those_that_are_known(lags: int) -> None:
    task = RegimeTask(2, code=CODES["switches"](2), lags=lags)
    sample = task.sample(2, torch.Generator().manual_seed(1))
    window = task.batch(sample).streams["B"]
    assert len(task.schema().streams["B"].columns) == window.values.shape[-1] == 5 + lags
    for token in range(12):
        for lag in range(lags):
            pair = token // 2 - lag
            assert bool(window.observed[:, token, 5 + lag].all()) == (pair >= 0)
            told = sample.codes[:, pair, 0] if pair >= 0 else torch.zeros(2)
            torch.testing.assert_close(window.values[:, token, 5 + lag], told)


def test_the_edge_between_layers_reads_the_own_pair_and_none_after_it() -> None:
    task = RegimeTask(2, code=SwitchCode(2))
    config = configure("switches", list_variants("switches")["film@1"], 0.0)
    # In training the means of sources move with every call.
    model = build_model(task, config, seed=1).eval()
    torch.nn.init.normal_(model.interaction("film_A.out_to_B.1").projection.weight)
    batch = draw(task)
    added: list[torch.Tensor] = []

    def keep(_: str, what: torch.Tensor, *__: object) -> None:
        added.append(what.detach())

    model(batch, keep)
    for pair in range(6):
        other = batch.streams["A"].values.clone()
        other[:, pair] *= -1
        model(with_codes(batch, other), keep)
        moved = (added[-1] - added[0]).abs().amax(dim=(0, 2)) > 0
        assert moved.tolist() == [token // 2 >= pair for token in range(12)]


def with_codes(batch: Batch, codes: torch.Tensor) -> Batch:
    window = replace(batch.streams["A"], values=codes)
    return replace(batch, streams={**batch.streams, "A": window})


def test_an_error_below_the_floor_ends_with_an_error() -> None:
    with pytest.raises(SystemExit, match="leak"):
        check_floor({"variant": "x", "seed": 1, "test": 0.01}, 0.1)
    check_floor({"variant": "x", "seed": 1, "test": 0.099}, 0.1)


@pytest.mark.parametrize("task", ["regimes", "switches"])
def test_the_command_does_no_run_twice(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "runs.json"
    command = [
        "cross_layer.py",
        "--task",
        task,
        "--regimes",
        "1",
        "2",
        "--markdown",
        "--variants",
        "none",
        "--seeds",
        "1",
        "--steps",
        "1",
        "--batch",
        "2",
        "--json",
    ]
    monkeypatch.setattr(sys, "argv", [*command, str(file)])
    main()
    first = json.loads(file.read_text())
    capsys.readouterr()
    main()
    assert json.loads(file.read_text()) == first
    printed = capsys.readouterr()
    assert "none" in printed.out
    assert "ms a step" not in printed.err


def test_the_command_takes_no_run_of_other_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "runs.json"
    argv = "cross_layer.py --variants none --seeds 1 --steps 1 --batch 2 --json"
    monkeypatch.setattr(sys, "argv", [*argv.split(), str(file)])
    main()
    (run,) = json.loads(file.read_text())
    file.write_text(json.dumps([{**run, "format": run["format"] - 1}]))
    main()
    assert [found["format"] for found in json.loads(file.read_text())] == [
        run["format"] - 1,
        run["format"],
    ]
