"""What streams are worth: missing is missing, shuffled keeps its rows, and a zero reads as zero."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mmts.data.dataset import Dataset
from mmts.errors import DataError
from mmts.evaluation import (
    ALL_TARGETS,
    MODEL,
    Ablation,
    Evaluation,
    Subsets,
    choose_ablation,
    evaluate,
    forecast_windows,
    leave_out,
    list_subsets,
    load_evaluation_data,
    score_subsets,
    shuffle,
)
from mmts.evaluation.ablation import describe_idle
from mmts.evaluation.subsets import MAX_BLOCKS, MIN_HORIZONS, block_origins, compare
from mmts.forecasting import Forecaster
from mmts.plots import plot_subsets
from tests.conftest import Command
from tests.factories import make_frames, make_settings, write_frames, write_world
from tests.test_evaluation import make_forecaster
from tests.test_plots import assert_readable

OTHERS = ("weather", "plan", "news", "site")


@pytest.fixture(scope="module")
def evaluation(forecaster: Forecaster, dataset: Dataset) -> Evaluation:
    return evaluate(forecaster, dataset)


@pytest.fixture(scope="module")
def subsets(forecaster: Forecaster, dataset: Dataset, evaluation: Evaluation) -> Subsets:
    listed = list_subsets(dataset.schema, evaluation.ablation)
    return score_subsets(forecaster, dataset, evaluation, listed)


class TestWithout:
    @pytest.mark.parametrize("left_out", [*[(name,) for name in OTHERS], OTHERS])
    def test_forecasts_as_if_the_streams_were_not_given(
        self, forecaster: Forecaster, dataset: Dataset, left_out: tuple[str, ...]
    ) -> None:
        windows = forecast_windows(forecaster, leave_out(dataset, left_out).windows("test"))
        shared = sorted(
            set(windows.origins[windows.items == 0]) & set(windows.origins[windows.items == 1])
        )
        # The files go on behind this origin; a forecast from it must not see that either way.
        origin = shared[len(shared) // 2]
        frames = {n: frame for n, frame in make_frames().items() if n not in left_out}
        expected = forecaster.predict(frames, str(pd.Timestamp(origin, unit="us")))
        found = windows.forecast[windows.origins == origin].reshape(12, -1)
        outputs = list(forecaster.model.outputs)
        np.testing.assert_allclose(found, expected[outputs], rtol=1e-5)

    def test_leaves_the_windows_as_they_are(self, dataset: Dataset) -> None:
        whole, rest = (d.windows("test").windows for d in (dataset, leave_out(dataset, OTHERS)))
        assert rest.origins.equal(whole.origins)
        assert rest.items.equal(whole.items)

    def test_evaluates_the_ridge_on_what_is_left(
        self, forecaster: Forecaster, dataset: Dataset, evaluation: Evaluation
    ) -> None:
        without = evaluate(forecaster, dataset, without=["plan"])
        mae = {name: scores[ALL_TARGETS].overall.mae for name, scores in without.scores.items()}
        whole = {name: s[ALL_TARGETS].overall.mae for name, s in evaluation.scores.items()}
        # The load follows the plan.
        assert mae["ridge"] > 1.5 * whole["ridge"]
        assert mae["last value"] == whole["last value"]
        assert mae["seasonal naive"] == whole["seasonal naive"]

    def test_is_said_in_verdict_notes_and_json(
        self, forecaster: Forecaster, dataset: Dataset
    ) -> None:
        found = evaluate(forecaster, dataset, without=["news", "weather"], shuffled=["site"])
        words = "without streams weather, news, with stream site shuffled, the model's MAE"
        assert words in found.verdict
        assert any(note.startswith("without streams weather, news: ") for note in found.notes)
        assert any(note.startswith("with stream site shuffled") for note in found.notes)
        said = json.loads(json.dumps(found.to_json(), allow_nan=False))
        assert said["without"] == ["weather", "news"]
        assert said["shuffled"] == ["site"]
        assert found.ablation.path == "without/weather-news/shuffled/site"

    def test_does_not_open_the_files(self, forecaster: Forecaster, tmp_path: Path) -> None:
        frames = make_frames()
        del frames["weather"]
        write_frames(tmp_path, frames)
        dataset = load_evaluation_data(forecaster.info, tmp_path, without=["weather"])
        assert dataset.streams["weather"].observed_share() == 0
        assert not any("are not those" in note for note in dataset.notes)


class TestShuffle:
    @pytest.mark.parametrize("name", ["weather", "plan", "news"])
    def test_moves_rows_within_their_item_and_nothing_else(
        self, dataset: Dataset, name: str
    ) -> None:
        before, after = dataset.streams[name], shuffle(dataset, [name]).streams[name]
        assert after.event_times.equal(before.event_times)
        assert after.first_time.equal(before.first_time)
        assert after.begin.equal(before.begin)
        for begin, end in zip(before.begin.tolist(), before.end.tolist(), strict=True):
            ours, theirs = (
                torch.cat([s.values[begin:end], s.observed[begin:end]], dim=1)
                for s in (after, before)
            )
            assert not ours.equal(theirs)
            # Whole rows moved: the same rows are there, none torn apart.
            assert sorted(ours.tolist()) == sorted(theirs.tolist())

    def test_moves_values_with_what_was_observed_of_them(self, dataset: Dataset) -> None:
        stream = dataset.streams["weather"]
        observed = stream.observed.clone()
        observed[::3, 0] = False
        observed[5] = False
        values = stream.values.masked_fill(~observed, 0.0)
        marked = replace(stream, values=values, observed=observed)
        changed = replace(dataset, streams={**dataset.streams, "weather": marked})
        after = shuffle(changed, ["weather"]).streams["weather"]
        moved = after.observed
        assert not after.values[~moved].any()
        assert not moved.equal(observed)
        assert moved.sum(dim=0).equal(observed.sum(dim=0))
        # A gap stays where it is: when rows are is not what is shuffled.
        assert not moved[5].any()
        assert moved.any(dim=1).equal(observed.any(dim=1))

    def test_moves_a_text_as_one(self, dataset: Dataset) -> None:
        stream = dataset.streams["news"]
        features = torch.randn(len(stream.values), 64, generator=torch.Generator().manual_seed(0))
        texts = replace(stream, values=features)
        changed = replace(dataset, streams={**dataset.streams, "news": texts})
        after = shuffle(changed, ["news"]).streams["news"].values
        same = (after[:, None] == features).all(dim=-1)
        assert (same.sum(dim=0) == 1).all()
        assert not same.diagonal().any()

    def test_gives_a_static_row_to_another_item(self, dataset: Dataset) -> None:
        before, after = dataset.streams["site"], shuffle(dataset, ["site"]).streams["site"]
        assert after.values.equal(before.values.flip(0))
        assert list(describe_idle(dataset, ["site"])) == []

    def test_is_the_same_each_time_and_another_with_another_seed(self, dataset: Dataset) -> None:
        one, again = (shuffle(dataset, ["news"]).streams["news"].values for _ in range(2))
        assert one.equal(again)
        assert not one.equal(shuffle(dataset, ["news"], seed=1).streams["news"].values)

    def test_of_a_constant_stream_changes_nothing(
        self, forecaster: Forecaster, dataset: Dataset
    ) -> None:
        stream = dataset.streams["weather"]
        still = replace(stream, values=torch.full_like(stream.values, 0.5))
        constant = replace(dataset, streams={**dataset.streams, "weather": still})
        evaluation = evaluate(forecaster, constant)
        shuffled = evaluate(forecaster, constant, shuffled=["weather"])
        assert np.array_equal(shuffled.windows.forecast, evaluation.windows.forecast)
        assert shuffled.scores[MODEL] == evaluation.scores[MODEL]

    def test_reaches_the_model_and_no_baseline(
        self, forecaster: Forecaster, dataset: Dataset, evaluation: Evaluation
    ) -> None:
        shuffled = evaluate(forecaster, dataset, shuffled=["plan"])
        whole = evaluation.table()["mae"]
        table = shuffled.table()["mae"]
        assert table[MODEL] != whole[MODEL]
        assert table.drop(MODEL).equals(whole.drop(MODEL))

    def test_says_that_a_single_item_has_nothing_to_change_places_with(
        self, dataset: Dataset, tmp_path: Path
    ) -> None:
        settings = make_settings()
        settings["data"]["exclude_items"] = ["south"]
        forecaster, alone = make_forecaster(write_world(tmp_path, settings))
        found = evaluate(forecaster, alone, shuffled=["site"])
        (note,) = [note for note in found.notes if "does nothing" in note]
        assert note == (
            "shuffling stream site does nothing: it is static, and there is only one item"
        )
        assert np.array_equal(
            found.windows.forecast, forecast_windows(forecaster, alone.windows("test")).forecast
        )
        (note,) = describe_idle(leave_out(dataset, ["news"]), ["news"])
        assert "no item has two rows" in note


class TestSubsets:
    def test_are_all_of_them_and_every_shuffled_stream(self, subsets: Subsets) -> None:
        names = [row.name for row in subsets.rows]
        assert names[0] == "all"
        assert len(set(names)) == len(names) == 2**4 + 4
        assert {"without weather", "without weather, site", "only load", "plan shuffled"} < set(
            names
        )

    def test_with_many_streams_are_each_left_out_and_the_target_alone(
        self, dataset: Dataset
    ) -> None:
        extra = dataset.schema.streams["news"]
        streams = {**dataset.schema.streams, "more": extra}
        schema = dataset.schema.model_copy(update={"streams": streams})
        listed = list_subsets(schema, Ablation())
        others = (*OTHERS, "more")
        assert listed == (
            Ablation(),
            *[Ablation((name,)) for name in others],
            Ablation(others),
            *[Ablation((), (name,)) for name in others],
        )

    def test_go_on_from_what_is_missing_or_shuffled_already(self, dataset: Dataset) -> None:
        base = Ablation(("news", "site"), ("weather",))
        assert list_subsets(dataset.schema, base) == (
            base,
            Ablation(("weather", "news", "site")),
            Ablation(("plan", "news", "site"), ("weather",)),
            Ablation(OTHERS),
            Ablation(("news", "site"), ("weather", "plan")),
        )

    def test_of_all_streams_are_the_evaluation(
        self, subsets: Subsets, evaluation: Evaluation
    ) -> None:
        row = subsets.rows[0]
        for target in ("load", ALL_TARGETS):
            assert row.scores[target] == evaluation.scores[MODEL][target].overall
            assert (row.changes[target].percent, row.changes[target].standard_error) == (0, 0)

    @pytest.mark.parametrize(
        ("name", "without", "shuffled"),
        [("without weather, plan", ["weather", "plan"], []), ("plan shuffled", [], ["plan"])],
    )
    def test_are_what_an_evaluation_without_finds(
        self,
        subsets: Subsets,
        forecaster: Forecaster,
        dataset: Dataset,
        evaluation: Evaluation,
        name: str,
        without: list[str],
        shuffled: list[str],
    ) -> None:
        (row,) = [row for row in subsets.rows if row.name == name]
        found = evaluate(forecaster, dataset, without=without, shuffled=shuffled)
        scores = found.scores[MODEL]["load"].overall
        assert row.scores["load"] == scores
        mae = evaluation.scores[MODEL]["load"].overall.mae
        assert row.changes["load"].percent == pytest.approx(100 * (scores.mae / mae - 1))

    def test_lay_out_a_table_and_json(self, subsets: Subsets) -> None:
        table = subsets.table().set_index("subset")
        assert table.loc["only load", "without"] == ", ".join(OTHERS)
        assert table.loc["news shuffled", "shuffled"] == "news"
        found = json.loads(json.dumps(subsets.to_json(), allow_nan=False))
        assert len(found) == len(table)
        assert found[0]["subset"] == "all"
        assert found[1]["without"] == ["weather"]
        assert found[1]["mae_change"]["load"]["percent"] == table["mae_change_percent"].iloc[1]

    def test_are_drawn_with_their_spread(self, subsets: Subsets, evaluation: Evaluation) -> None:
        figure = plot_subsets(subsets, evaluation)
        (axes,) = figure.axes
        assert_readable(figure)
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert names == [row.name for row in subsets.rows[1:]]
        lengths = [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]
        assert lengths == [row.changes["load"].percent for row in subsets.rows[1:]]

    def test_of_several_targets_are_scored_for_each(self, tmp_path: Path) -> None:
        settings = make_settings()
        settings["data"]["streams"]["load"] |= {"target": ["load", "staff"], "past": []}
        forecaster, dataset = make_forecaster(write_world(tmp_path, settings))
        evaluation = evaluate(forecaster, dataset)
        listed = list_subsets(dataset.schema, evaluation.ablation)[:2]
        subsets = score_subsets(forecaster, dataset, evaluation, listed)
        assert list(subsets.table()["target"]) == ["load", "staff"] * 2
        assert_readable(plot_subsets(subsets, evaluation))


class TestSpread:
    def test_is_zero_for_equal_errors_and_not_for_others(self) -> None:
        random = np.random.default_rng(0)
        base = random.gamma(5, size=10)
        assert (compare(base, base).percent, compare(base, base).standard_error) == (0, 0)
        # A change by the same factor everywhere is known without doubt, however blocks differ.
        change = compare(1.1 * base, base)
        assert change.percent == pytest.approx(10)
        assert change.standard_error == pytest.approx(0, abs=1e-9)
        assert compare(base + random.normal(0, 0.1, 10), base).standard_error > 0.1

    def test_is_not_defined_from_one_block_or_against_no_error(self) -> None:
        assert compare(np.array([2.0]), np.array([1.0])).percent == 100
        assert np.isnan(compare(np.array([2.0]), np.array([1.0])).standard_error)
        assert np.isnan(compare(np.ones(3), np.zeros(3)).percent)

    def test_holds_the_truth_about_as_often_as_it_says(self) -> None:
        """Two forecasts of one quality, whose errors last: the change is within 1 error in 60%."""
        random = np.random.default_rng(0)
        horizon, num_origins, trials = 12, 600, 200
        blocks = block_origins(np.arange(num_origins), horizon)
        within = 0
        for _ in range(trials):
            noise = random.normal(size=(3, num_origins + horizon + 7))
            ours, theirs, shared = (np.convolve(n, np.ones(8), "valid") for n in noise)
            sums = [
                np.convolve(np.abs(e + shared), np.ones(horizon), "valid")[:num_origins]
                for e in (ours, theirs)
            ]
            change = compare(*(np.bincount(blocks, s) for s in sums))
            within += abs(change.percent) < change.standard_error
        assert 0.5 < within / trials < 0.8

    def test_comes_from_blocks_long_beside_the_horizon(self) -> None:
        origins = np.repeat(np.arange(1000), 2)
        blocks = block_origins(origins, 24)
        assert blocks.max() + 1 == MAX_BLOCKS
        assert (blocks[::2] == blocks[1::2]).all()
        few = block_origins(np.arange(100), 24)
        assert np.bincount(few).min() >= 24 * MIN_HORIZONS
        assert block_origins(np.arange(5), 24).max() == 0
        # A hole in the data leaves no empty block behind.
        torn = block_origins(np.concatenate([np.arange(100), np.arange(900, 1000)]), 24)
        assert np.bincount(torn).min() > 0


@pytest.mark.parametrize(
    ("without", "shuffled", "words"),
    [
        (["load"], [], "stream 'load' cannot be left out: it holds the target"),
        ([], ["load"], "stream 'load' cannot be shuffled: it holds the target"),
        (["wether"], [], "stream 'wether' cannot be left out: it does not exist; did you mean"),
        ([], ["x"], "does not exist; there are weather, plan, news, site."),
        (["news"], ["news"], "stream 'news' cannot be both left out and shuffled"),
    ],
)
def test_streams_that_cannot_be_taken_are_refused(
    dataset: Dataset, without: list[str], shuffled: list[str], words: str
) -> None:
    with pytest.raises(DataError) as caught:
        choose_ablation(dataset.schema, without, shuffled)
    assert words in str(caught.value)


def test_the_target_alone_has_no_subsets(dataset: Dataset) -> None:
    with pytest.raises(DataError, match="reads stream 'load' alone"):
        list_subsets(dataset.schema, Ablation(OTHERS))


def test_command_refuses_before_anything_is_written(
    mmts: Command, trained: Path, tmp_path: Path
) -> None:
    done = mmts("evaluate", trained, "--without", "wether", "--output", tmp_path / "out")
    assert done.returncode == 2
    assert "did you mean 'weather'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
