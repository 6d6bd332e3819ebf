"""The synthetic task: its closed forms, what is known when, and the command."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import cross_layer
import pytest
import torch
from cross_layer import Run, build_model, check_floor, list_variants, main, perform
from regimes import NOISE_VARIANCE, STEP, RegimeTask

from mmts.data.batch import Batch, WindowGatherer
from mmts.data.streams import Stream, prepare_search
from mmts.data.windows import Windows
from mmts.interactions.alignment import align, visible_tokens
from mmts.tokens import Tokens


@pytest.fixture(autouse=True)
def few_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NUM_TEST", "NUM_VALIDATION"):
        monkeypatch.setattr(cross_layer, name, 50)


RUN = Run(
    variant="residual@2", seed=1, learning_rate=3e-3, steps=2, batch=4, stream_dropout=0.0,
    regimes=8, channels=4, tokens=12, world=1,
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
    model = build_model(task, list_variants()["residual@2"], 0.0, seed=1)
    batch = draw(task)
    target = model.encoders["[B]"].embed(batch.streams["B"]).grid
    source = model.encoders["[A]"].embed(batch.streams["A"])
    codes = Tokens(batch.streams["A"].values, source.grid)
    aligned = align(target, codes, causal=True)
    torch.testing.assert_close(aligned.values, codes.values.repeat_interleave(2, dim=1))
    assert aligned.present.all()
    visible = visible_tokens(target, source.grid, causal=True)[0].sum(dim=-1)
    assert visible.tolist() == [pair for pair in range(1, 7) for _ in range(2)]


def test_a_batch_is_what_the_data_pipeline_would_gather() -> None:
    task = RegimeTask()
    sample = task.sample(1, torch.Generator().manual_seed(1))
    expected, schema = task.batch(sample), task.schema()
    streams = {}
    for name, stream in schema.streams.items():
        window = expected.streams[name]
        values = torch.where(window.observed, window.values, torch.nan)[0]
        if name == "B":
            # One row more: the target that comes after the window.
            after = torch.full_like(values[:1], torch.nan)
            after[0, 0] = sample.target[0]
            values = torch.cat([values, after])
        spacing = STEP * task.num_tokens // len(window.values[0])
        times = spacing * torch.arange(len(values))
        stream_of_one = Stream(
            schema=stream,
            values=values,
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


@pytest.mark.parametrize("name", ["none", "late-attention-wide", "weighted@0+noise", "ladder"])
def test_a_variant_is_measured(name: str) -> None:
    found = perform(replace(RUN, variant=name), threads=1)
    assert 0.5 < found["test"] < 2
    assert found["parameters"] > 30_000


def test_an_error_below_the_floor_ends_with_an_error() -> None:
    with pytest.raises(SystemExit, match="leak"):
        check_floor({"variant": "x", "seed": 1, "test": 0.01}, 0.1)
    check_floor({"variant": "x", "seed": 1, "test": 0.099}, 0.1)


def test_the_command_does_no_run_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "runs.json"
    command = [
        "cross_layer.py",
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
