"""Explanations: sums are right whatever the batches, what helps is first, a zero reads as zero."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mmts.data.dataset import Dataset
from mmts.errors import ConfigError, DataError
from mmts.evaluation import (
    ALL_TARGETS,
    MODEL,
    Ablation,
    Evaluation,
    evaluate,
    score_subsets,
)
from mmts.explanation import Cost, Explanation, Metric, check_request, explain, switched_off
from mmts.explanation.lags import MAX_BINS, LagMeter, LagProfile
from mmts.explanation.reading import ReadingMeter, SourceReading, TokenShares
from mmts.forecasting import Forecaster
from mmts.interactions.residual import ResidualInteraction
from mmts.losses import masked_mean
from mmts.model import MultimodalForecaster
from mmts.plots import (
    plot_edges,
    plot_lags,
    plot_shares,
    plot_shares_over_time,
    plot_streams,
    plot_token_shares,
)
from mmts.tokens import TokenGrid
from pipelines.explain import _show as show
from tests.conftest import Command
from tests.factories import START, make_settings, write_config, write_frames, write_world
from tests.test_evaluation import make_forecaster
from tests.test_plots import assert_readable

HOUR = 3_600_000_000
KINDS = ("residual", "film", "weighted", "attention", "joint", "bottleneck")


@pytest.fixture(scope="module")
def evaluation(forecaster: Forecaster, dataset: Dataset) -> Evaluation:
    return evaluate(forecaster, dataset)


@pytest.fixture(scope="module")
def explanation(forecaster: Forecaster, dataset: Dataset) -> Explanation:
    return explain(forecaster, dataset)


@pytest.fixture(scope="module")
def informed(tmp_path_factory: pytest.TempPathFactory) -> Explanation:
    """Return what is found where one stream tells the next value, and another is noise."""
    random = np.random.default_rng(0)
    hours = pd.date_range(START, periods=45 * 24, freq="h")
    signal, noise, rest = random.normal(0, 1, (3, len(hours)))
    frames = {
        "load": pd.DataFrame({"time": hours, "load": np.roll(signal, 1) + 0.2 * rest}),
        "signal": pd.DataFrame({"time": hours, "signal": signal}),
        "noise": pd.DataFrame({"time": hours, "noise": noise}),
    }
    folder = tmp_path_factory.mktemp("informed")
    write_frames(folder, frames)
    streams = {
        name: {"path": f"{name}.csv", "time": "time", "context_length": "8h"} for name in frames
    }
    streams["load"] |= {"target": ["load"]}
    encoder = {"dim": 8, "num_layers": 2, "dropout": 0.0}
    settings = {
        "name": "informed",
        "data": {"horizon": "1h", "streams": streams, "split": {"validation": 0.5, "test": 0.6}},
        "model": {
            "encoders": {
                "load": {"kind": "patch", "patch_length": 1, **encoder},
                "signal": {"kind": "mlp", **encoder},
                "noise": {"kind": "mlp", **encoder},
            },
            "interactions": [
                {"kind": "attention", "from": "noise.1", "to": "load.1"},
                {"kind": "residual", "from": "signal.1", "to": "load.1"},
            ],
            "head": {"kind": "quantile", "dim": 8},
            "window_normalization": False,
            "linear": None,
        },
    }
    forecaster, dataset = make_forecaster(write_config(folder, settings))
    train(forecaster.model, dataset)
    return explain(forecaster, dataset)


def train(model: MultimodalForecaster, dataset: Dataset, num_steps: int = 240) -> None:
    """Train for a few seconds, without all that a training records."""
    torch.manual_seed(0)
    model.train()
    windows = dataset.windows("train")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(num_steps):
        batch = windows.gather(torch.randint(len(windows), (48,)))
        optimizer.zero_grad()
        masked_mean(model.head.loss(model(batch), batch.target), batch.target_observed).backward()
        optimizer.step()
    model.eval()


class TestRanking:
    def test_puts_the_stream_that_helps_first_and_the_noise_last(
        self, informed: Explanation
    ) -> None:
        signal, noise = informed.streams
        assert (signal.name, noise.name) == ("signal", "noise")
        assert signal.shuffled.verdict == signal.without.verdict == "costs"
        assert signal.shuffled.low > 50
        assert noise.shuffled.low <= 0 <= noise.shuffled.high
        assert noise.shuffled.verdict in ("none", "not told from 0")

    def test_puts_its_edge_first_and_that_of_the_noise_last(self, informed: Explanation) -> None:
        first, last = informed.edges
        assert (first.sources, last.sources) == (("signal.1",), ("noise.1",))
        assert first.cost.verdict == "costs"
        # Not quite zero: what is switched off is also the constant that it has learned to add.
        assert abs(last.cost.percent) < first.cost.percent / 100
        assert last.strength.overall < first.strength.overall
        assert informed.all_edges is not None
        assert informed.all_edges.verdict == "costs"

    def test_finds_the_lag_at_which_the_source_is_read(self, informed: Explanation) -> None:
        (reading,) = informed.edges[0].readings
        assert reading.lags is not None
        # From the middle of an hour to its end.
        assert reading.lags.median == HOUR // 2
        # What is missing faded with age.
        assert 0.95 < reading.share <= 1


class TestNumbers:
    @pytest.mark.parametrize("metric", ["mae", "rmse", "wql"])
    def test_are_those_of_an_evaluation(
        self, forecaster: Forecaster, dataset: Dataset, evaluation: Evaluation, metric: Metric
    ) -> None:
        found = explain(forecaster, dataset, metric=metric)
        scores = evaluation.scores[MODEL][ALL_TARGETS].overall
        assert found.value == pytest.approx(getattr(scores, metric), rel=1e-12)
        without = evaluate(forecaster, dataset, without=["plan"]).scores[MODEL]["load"].overall
        plan = next(stream for stream in found.streams if stream.name == "plan")
        assert plan.without.value == pytest.approx(getattr(without, metric), rel=1e-12)
        ratio = plan.without.value / found.value
        assert plan.without.percent == pytest.approx(100 * (ratio - 1))

    def test_of_streams_are_those_of_the_subsets(
        self,
        forecaster: Forecaster,
        dataset: Dataset,
        evaluation: Evaluation,
        explanation: Explanation,
    ) -> None:
        ablations = [Ablation(), Ablation(("plan",)), Ablation((), ("plan",))]
        _, without, shuffled = score_subsets(forecaster, dataset, evaluation, ablations).rows
        plan = next(stream for stream in explanation.streams if stream.name == "plan")
        for cost, row in ((plan.without, without), (plan.shuffled, shuffled)):
            assert cost.percent == row.changes["load"].percent
            assert cost.standard_error == row.changes["load"].standard_error

    def test_do_not_depend_on_the_batches(
        self, forecaster: Forecaster, dataset: Dataset, explanation: Explanation
    ) -> None:
        few = explain(forecaster, dataset, batch_size=40)
        pairs = zip(
            sorted(few.metrics().items()), sorted(explanation.metrics().items()), strict=True
        )
        for (name, one), (_, other) in pairs:
            assert one == pytest.approx(other, rel=1e-3, abs=2e-3), name
        lags = {
            (edge.name, reading.source): reading.lags
            for edge in explanation.edges
            for reading in edge.readings
        }
        for edge in few.edges:
            for reading in edge.readings:
                other_lags = lags[edge.name, reading.source]
                if reading.lags is not None and other_lags is not None:
                    assert reading.lags.width == other_lags.width
                    np.testing.assert_allclose(reading.lags.shares, other_lags.shares, atol=1e-5)

    def test_of_strength_are_those_of_the_model(
        self, forecaster: Forecaster, dataset: Dataset, explanation: Explanation
    ) -> None:
        batch = next(dataset.windows("test").batches(10_000))
        expected = forecaster.model.edge_strengths(batch)
        assert explanation.strengths == pytest.approx(expected, rel=1e-4)
        for edge in explanation.edges:
            assert 0 <= edge.strength.low <= edge.strength.high

    def test_of_one_target_alone_are_those_of_all_where_there_is_one(
        self, forecaster: Forecaster, dataset: Dataset, explanation: Explanation
    ) -> None:
        assert explain(forecaster, dataset, target="load") == explanation


class TestShares:
    @pytest.mark.parametrize("kind", KINDS)
    def test_sum_to_one_with_nothing(self, tmp_path: Path, kind: str) -> None:
        settings = make_settings()
        settings["model"]["interactions"] = [
            {"kind": kind, "from": f"{stream}.1", "to": "load.2"}
            for stream in ("weather", "plan", "news", "site")
        ]
        forecaster, dataset = make_forecaster(write_world(tmp_path, settings))
        found = explain(forecaster, dataset, split="validation")
        assert len(found.edges) == 4
        for edge in found.edges:
            shares = [reading.share for reading in edge.readings]
            assert all(0 <= share <= 1 + 1e-6 for share in shares)
            assert 0 <= edge.nothing <= 1
            assert sum(shares) + edge.nothing == pytest.approx(1, abs=1e-6)
            for reading in edge.readings:
                if reading.lags is None:
                    assert reading.source == "site.1"
                    continue
                for parts in (reading.lags.shares, reading.lags.even):
                    assert sum(parts) == pytest.approx(reading.share, abs=1e-6)
                if reading.tokens is not None:
                    cells = np.array(reading.tokens.shares)
                    assert cells.sum(axis=1).max() <= 1 + 1e-6
            # An edge that was never trained adds nothing, and losing it costs nothing.
            assert edge.strength.overall == 0
            assert edge.cost.verdict == "none"

    def test_that_no_kind_tells_have_no_empty_table(
        self, explanation: Explanation, capsys: pytest.CaptureFixture[str]
    ) -> None:
        show(explanation)
        assert "median lag" in capsys.readouterr().out
        silent = tuple(replace(edge, readings=()) for edge in explanation.edges)
        show(replace(explanation, edges=silent))
        printed = capsys.readouterr().out
        assert "edge switched off" in printed
        assert "median lag" not in printed

    def test_need_not_be_told_by_a_kind(
        self, forecaster: Forecaster, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ResidualInteraction, "shares", lambda *_: ())
        found = explain(forecaster, dataset)
        silent = [edge for edge in found.edges if edge.kind == "residual"]
        assert len(silent) == 2
        for edge in silent:
            assert edge.readings == ()
            assert math.isnan(edge.nothing)
            assert edge.strength.overall > 0
        json.dumps(found.to_json(), allow_nan=False)

    def test_by_token_are_kept_where_tokens_stand_still(self, explanation: Explanation) -> None:
        readings = {
            reading.source: reading for edge in explanation.edges for reading in edge.readings
        }
        tokens = readings["plan.1"].tokens
        assert tokens is not None
        # Patches of four hours, and rows of an hour, twelve of the past and six ahead.
        assert tokens.target_times == tuple(3600.0 * hour for hour in range(-20, 4, 4))
        assert tokens.source_times == tuple(3600.0 * (hour + 0.5) for hour in range(-12, 6))
        assert np.array(tokens.shares).shape == (6, 18)
        # Every three hours, seen from every hour: they stand elsewhere in each window.
        assert readings["weather.1"].tokens is None
        assert readings["site.1"].tokens is None


def make_grid(*ends: float, length: float = 0.0) -> TokenGrid:
    """Make one window of tokens that end at these seconds."""
    end = torch.tensor([ends])
    return TokenGrid(end - length, end, end, torch.ones_like(end, dtype=torch.bool))


class TestLags:
    def test_are_pooled_over_windows_in_bins_of_real_time(self) -> None:
        meter, everywhere = LagMeter(), torch.ones(1, 1, 2, dtype=torch.bool)
        target = make_grid(0.0)
        meter.add(target, make_grid(-7200.0, -1800.0), torch.tensor([[[0.25, 0.5]]]), everywhere)
        meter.add(target, make_grid(-90_000.0, 3600.0), torch.tensor([[[0.5, 0.5]]]), everywhere)
        found = meter.finish(num_tokens=2)
        assert len(found.shares) <= MAX_BINS
        assert sum(found.shares) == pytest.approx((0.75 + 1) / 2)
        assert sum(found.even) == pytest.approx(sum(found.shares))
        starts = found.first + found.width * np.arange(len(found.shares))
        held = {int(s): x for s, x in zip(starts, found.shares, strict=True) if x > 0}
        assert found.width == 3 * HOUR
        assert held == pytest.approx({-3 * HOUR: 0.25, 0: 0.375, 24 * HOUR: 0.25})
        assert found.median == 1800 * 1_000_000

    def test_are_no_finer_than_the_tokens_that_are_read(self) -> None:
        meter, day = LagMeter(), 86_400.0
        source = make_grid(*(-day * n for n in range(1, 8)))
        everywhere = torch.ones(1, 1, 7, dtype=torch.bool)
        meter.add(make_grid(0.0), source, torch.full((1, 1, 7), 1 / 7), everywhere)
        found = meter.finish(num_tokens=1)
        assert found.width == 24 * HOUR
        assert found.shares == pytest.approx([1 / 7] * 7)

    def test_reach_further_than_the_first_batch_without_more_bins(self) -> None:
        everywhere, decade = torch.ones(1, 1, 2, dtype=torch.bool), 10 * 364 * 86_400
        near, far = make_grid(0.0, 0.0), make_grid(-1.0 * decade, 0.0)
        profiles = []
        for order in ((near, far), (far, near)):
            meter = LagMeter()
            for source in order:
                # Bins for every millisecond of ten years would not fit into memory.
                meter.add(make_grid(0.0), source, torch.tensor([[[0.5, 0.25]]]), everywhere)
            profiles.append(meter.finish(num_tokens=2))
        assert profiles[0] == profiles[1]
        assert profiles[0].shares[0] == pytest.approx(0.5)
        assert profiles[0].shares[-1] == pytest.approx(0.25)

    def test_are_those_of_a_token_that_reads_itself_before_its_rows_are_known(
        self, tmp_path: Path
    ) -> None:
        settings = make_settings()
        settings["data"]["streams"]["load"]["delay"] = "1h"
        settings["model"]["interactions"] = [{"kind": "residual", "from": "load.0", "to": "load.3"}]
        forecaster, dataset = make_forecaster(write_world(tmp_path, settings))
        (edge,) = explain(forecaster, dataset, split="validation").edges
        (reading,) = edge.readings
        assert reading.share == pytest.approx(1)
        assert reading.lags is not None
        for parts in (reading.lags.shares, reading.lags.even):
            assert sum(parts) == pytest.approx(1)

    def test_leave_out_what_is_not_seen(self) -> None:
        meter = LagMeter()
        visible = torch.tensor([[[True, False]]])
        # Of a token that is not there even the time may be anything.
        source = make_grid(-3600.0, -4e9)
        meter.add(make_grid(0.0), source, torch.tensor([[[0.5, 0.0]]]), visible)
        found = meter.finish(num_tokens=1)
        assert sum(found.shares) == sum(found.even) == pytest.approx(0.5)
        assert found.width * len(found.shares) <= 2 * HOUR

    def test_of_nothing_read_are_empty(self) -> None:
        meter = LagMeter()
        nothing = torch.zeros(1, 1, 1)
        meter.add(make_grid(0.0), make_grid(0.0), nothing, nothing.bool())
        assert meter.finish(num_tokens=1).shares == ()
        assert meter.finish(num_tokens=1).median is None

    def test_by_token_end_where_a_token_moves(self) -> None:
        meter, visible = ReadingMeter("news.1"), torch.ones(1, 1, 1, dtype=torch.bool)
        for end in (-10.0, -10.0):
            meter.add(make_grid(0.0), make_grid(end), torch.ones(1, 1, 1), visible)
        assert meter.finish().tokens is not None
        meter.add(make_grid(0.0), make_grid(-11.0), torch.ones(1, 1, 1), visible)
        assert meter.finish().tokens is None
        assert meter.finish().share == 1


class TestSwitching:
    def test_is_undone(self, forecaster: Forecaster, dataset: Dataset) -> None:
        windows, model = dataset.windows("test"), forecaster.model
        name, *others = model.sources
        before = forecaster.predict_windows(windows)
        with switched_off(model, [name]):
            assert float(model.interaction(name).scale) == 0
            assert not np.array_equal(forecaster.predict_windows(windows), before)
        assert np.array_equal(forecaster.predict_windows(windows), before)
        assert all(float(model.interaction(other).scale) == 1 for other in others)

    def test_is_undone_when_something_raises(self, forecaster: Forecaster) -> None:
        model = forecaster.model
        name = next(iter(model.sources))
        model.switch_edge(name, 0.5)
        try:
            with pytest.raises(RuntimeError), switched_off(model, list(model.sources)):
                raise RuntimeError
            assert float(model.interaction(name).scale) == 0.5
        finally:
            model.switch_edge(name, 1.0)

    def test_leaves_the_model_as_it_was(
        self, forecaster: Forecaster, dataset: Dataset, explanation: Explanation
    ) -> None:
        assert explain(forecaster, dataset) == explanation


class TestCost:
    @pytest.mark.parametrize(
        ("percent", "standard_error", "verdict"),
        [
            (0.0, 0.0, "none"),
            (1.0, 0.5, "not told from 0"),
            (-1.0, 0.5, "not told from 0"),
            (2.0, 0.5, "costs"),
            (-2.0, 0.5, "gains"),
            (2.0, math.nan, "-"),
            (math.nan, math.nan, "-"),
        ],
    )
    def test_says_whether_it_can_be_told_from_zero(
        self, percent: float, standard_error: float, verdict: str
    ) -> None:
        assert Cost(1.0, percent, standard_error).verdict == verdict


class TestReport:
    def test_is_plain_json(self, explanation: Explanation) -> None:
        said = json.loads(json.dumps(explanation.to_json(), allow_nan=False))
        assert [edge["name"] for edge in said["edges"]] == [e.name for e in explanation.edges]
        assert said["interval_standard_errors"] == 3
        assert said["edges"][0]["cost"]["low"] <= said["edges"][0]["cost"]["percent"]

    def test_names_metrics_so_that_none_covers_another(self, explanation: Explanation) -> None:
        edge = explanation.edges[0]
        long = "weighted_" + "_".join(f"stream{n}.1" for n in range(60))
        twins = tuple(replace(edge, name=f"{long}_to_load.{layer}") for layer in (1, 2))
        metrics = replace(explanation, edges=twins).metrics()
        assert sum(name.endswith("/strength") for name in metrics) == 2
        assert max(map(len, metrics)) <= 250
        name = explanation.edges[0].name
        assert explanation.metrics()[f"explain/edge/{name}/strength"] == edge.strength.overall
        assert all(math.isfinite(value) for value in explanation.metrics().values())

    def test_has_a_row_for_each(self, explanation: Explanation) -> None:
        assert explanation.edge_table()["edge"].tolist() == [e.name for e in explanation.edges]
        assert len(explanation.stream_table()) == 4
        lags = explanation.reading_table()
        assert (lags["lag_to"] > lags["lag_from"]).all()

    def test_names_what_has_no_path_to_the_head(self, tmp_path: Path) -> None:
        settings = make_settings()
        settings["model"]["interactions"] = [
            {"kind": "residual", "from": "load.1", "to": "weather.1"},
            {"kind": "residual", "from": "plan.1", "to": "load.1"},
        ]
        forecaster, dataset = make_forecaster(write_world(tmp_path, settings))
        found = explain(forecaster, dataset)
        assert [edge.sources for edge in found.edges] == [("plan.1",)]
        notes = " ".join(found.notes)
        assert "no such edge: residual_load.1_to_weather.1" in notes
        assert "does not read stream news, site, weather" in notes
        idle = {s.name: s.shuffled.verdict for s in found.streams if s.name != "plan"}
        assert idle == dict.fromkeys(("weather", "news", "site"), "none")

    def test_says_when_there_is_nothing_to_take_away(self, tmp_path: Path) -> None:
        settings = make_settings()
        for part in (settings["data"]["streams"], settings["model"]["encoders"]):
            for name in ("weather", "plan", "news", "site"):
                del part[name]
        settings["model"]["interactions"] = []
        found = explain(*make_forecaster(write_world(tmp_path, settings)))
        assert found.edges == found.streams == ()
        assert found.all_edges is None
        assert "nothing to take away" in found.notes[-1]

    def test_is_drawn_so_that_it_can_be_read(
        self, explanation: Explanation, informed: Explanation
    ) -> None:
        for found in (explanation, informed):
            for draw in (plot_edges, plot_streams, plot_lags, plot_shares, plot_shares_over_time):
                figure = draw(found)
                assert figure is not None
                assert_readable(figure)
        by_token = plot_token_shares(informed)
        assert by_token is not None
        assert_readable(by_token)
        assert plot_token_shares(explanation) is None

    @pytest.mark.parametrize("num_hours", [7, 96, 24 * 30])
    def test_labels_round_times_that_do_not_overlap(
        self, informed: Explanation, num_hours: int
    ) -> None:
        edge = next(edge for edge in informed.edges if edge.kind == "attention")
        middles = tuple(3600.0 * (hour - num_hours + 24.5) for hour in range(num_hours))
        tokens = TokenShares((-43_200.0, 0.0), middles, ((0.1,) * num_hours,) * 2)
        lags = LagProfile(HOUR, -24 * HOUR, (0.1,) * num_hours, (0.1,) * num_hours, 0)
        reading = SourceReading(edge.readings[0].source, 0.1, lags, tokens)
        # Three beside each other, as panels are narrowest then.
        found = replace(informed, edges=(replace(edge, readings=(reading,) * 3),))
        for draw in (plot_lags, plot_token_shares):
            figure = draw(found)
            assert figure is not None
            assert_readable(figure)
            figure.canvas.draw()
            for axes in figure.axes[:3]:
                labels = [label for label in axes.get_xticklabels() if label.get_text()]
                boxes = [label.get_window_extent() for label in labels]
                assert len(boxes) >= 2
                assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
                assert not any("30min" in label.get_text() for label in labels)
                name = axes.xaxis.label.get_window_extent()
                assert name.x0 > axes.bbox.x0 - 40
                assert name.x1 < axes.bbox.x1 + 40

    def test_shares_over_time_sum_to_the_share_of_the_source(
        self, explanation: Explanation, dataset: Dataset
    ) -> None:
        (weighted,) = [edge for edge in explanation.edges if edge.kind == "weighted"]
        assert {reading.source for reading in weighted.readings} >= {"load.1", "site.1"}
        for reading in weighted.readings:
            # Of a stream without time as well: what reads it stands in time.
            assert reading.over_time is not None
            assert len(reading.over_time.times) == len(reading.over_time.shares)
            low, high = min(reading.over_time.shares), max(reading.over_time.shares)
            assert low - 1e-9 <= reading.share <= high + 1e-9

    def test_bars_of_shares_fill_their_row(self, explanation: Explanation) -> None:
        figure = plot_shares(explanation)
        assert figure is not None
        (axes,) = figure.axes
        widths: dict[float, float] = {}
        for bar in axes.patches:
            row = round(bar.get_y() + bar.get_height() / 2)
            widths[row] = widths.get(row, 0.0) + bar.get_width()
        assert len(widths) == sum(bool(edge.readings) for edge in explanation.edges)
        assert all(abs(width - 1) < 1e-6 for width in widths.values())

    def test_draws_a_cost_of_exactly_zero_as_a_zero(self, informed: Explanation) -> None:
        none = Cost(1.0, 0.0, 0.0)
        noise = [edge for edge in informed.edges if edge.sources == ("noise.1",)]
        streams = [replace(informed.streams[0], shuffled=none, without=none)]
        found = replace(
            informed, edges=(replace(noise[0], cost=none),), streams=tuple(streams), all_edges=None
        )
        for draw, num_zeros in ((plot_edges, 1), (plot_streams, 2)):
            texts = [text.get_text() for axes in draw(found).axes for text in axes.texts]
            assert texts == ["0"] * num_zeros


def test_what_does_not_exist_is_refused(dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match="no metric 'mape'; did you mean 'mae'"):
        check_request("mape", None, dataset.schema)
    with pytest.raises(DataError, match="no target 'laod'; did you mean 'load'"):
        check_request("mae", "laod", dataset.schema)


def test_command_refuses_before_anything_is_written(
    mmts: Command, trained: Path, tmp_path: Path
) -> None:
    done = mmts("explain", trained, "--target", "laod", "--output", tmp_path / "out")
    assert done.returncode == 2
    assert "did you mean 'load'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
