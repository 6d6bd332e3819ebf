"""The moments of a backtest lie where the model has learned nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from mmts.backtest.cutoffs import NUM_REFITS, choose_cutoffs, count_steps
from mmts.data.clock import Clock
from mmts.data.dataset import Dataset
from mmts.data.schema import DataSchema
from mmts.errors import ConfigError, DataError
from tests.backtest.worlds import opened, tiny_settings, train_tiny
from tests.factories import DAYS, START, make_frames

HOUR = 3_600_000_000


@pytest.fixture(scope="module")
def dataset(tiny: Path) -> Dataset:
    return opened(tiny)[1]


def on_clock(dataset: Dataset, clock: Clock) -> DataSchema:
    schema = dataset.schema
    target = schema.target.model_copy(update={"clock": clock})
    return schema.model_copy(update={"streams": {**schema.streams, "load": target}})


class TestStep:
    @pytest.mark.parametrize(("step", "expected"), [("6h", 6), ("1d", 24), ("12", 12), ("2w", 336)])
    def test_is_a_duration_or_a_number(self, dataset: Dataset, step: str, expected: int) -> None:
        assert count_steps(step, dataset.schema) == expected

    @pytest.mark.parametrize("step", ["90min", "1mo", "0h", "0", "-3", "soon", "", "1.5"])
    def test_that_is_no_whole_number_of_steps_is_refused(self, dataset: Dataset, step: str) -> None:
        with pytest.raises(ConfigError, match=f"--step {step}"):
            count_steps(step, dataset.schema)

    def test_on_months_is_months(self, dataset: Dataset) -> None:
        monthly = on_clock(dataset, Clock(every=3, unit="month"))
        assert count_steps("1y", monthly) == 4
        for step in ("1mo", "90d"):
            with pytest.raises(ConfigError, match="no whole number"):
                count_steps(step, monthly)


class TestCutoffs:
    def test_are_all_that_fit_in_the_split_a_horizon_apart(self, dataset: Dataset) -> None:
        found = choose_cutoffs(dataset, "test")
        begin, end = dataset.split.bounds("test")
        assert found.moments[-1] == end - 6 * HOUR
        assert begin <= found.moments[0] < begin + 6 * HOUR
        assert {b - a for a, b in zip(found.moments, found.moments[1:], strict=False)} == {6 * HOUR}

    def test_of_the_validation_split_end_where_the_test_begins(self, dataset: Dataset) -> None:
        for is_refit in (False, True):
            found = choose_cutoffs(dataset, "validation", is_refit=is_refit)
            assert found.moments[-1] == dataset.split.test - 6 * HOUR

    def test_are_as_many_and_as_far_apart_as_asked(self, dataset: Dataset) -> None:
        found = choose_cutoffs(dataset, "test", num_windows=3, step=5)
        last = dataset.split.end - 6 * HOUR
        assert found.moments == (last - 10 * HOUR, last - 5 * HOUR, last)

    def test_never_reach_into_what_the_model_was_trained_on(self, dataset: Dataset) -> None:
        fit = len(choose_cutoffs(dataset, "test").moments)
        assert len(choose_cutoffs(dataset, "test", num_windows=fit).moments) == fit
        with pytest.raises(DataError, match=rf"{fit} cut-offs, 6 forecast steps apart, fit"):
            choose_cutoffs(dataset, "test", num_windows=fit + 1)
        earliest = choose_cutoffs(dataset, "test", step=1).moments[0]
        assert earliest == dataset.split.test

    def test_with_refit_fill_the_split_in_whole_horizons(self, dataset: Dataset) -> None:
        found = choose_cutoffs(dataset, "test", is_refit=True)
        assert len(found.moments) == NUM_REFITS
        assert found.step % 6 == 0
        assert found.moments[0] >= dataset.split.test
        assert found.moments[0] - 2 * 6 * HOUR < dataset.split.test

    def test_with_refit_reach_back_as_far_as_there_is_something_to_train_on(
        self, dataset: Dataset
    ) -> None:
        with pytest.raises(DataError, match=r"(\d+) cut-offs, 24 forecast steps apart") as error:
            choose_cutoffs(dataset, "test", num_windows=DAYS, step=24, is_refit=True)
        most = int(str(error.value).split(": ")[1].split()[0])
        found = choose_cutoffs(dataset, "test", num_windows=most, step=24, is_refit=True)
        assert len(found.moments) == most
        length = dataset.split.test - dataset.split.validation
        needed = (24 + 6) * HOUR
        # One more day back, and no full window lies before its validation.
        assert found.moments[0] - length - dataset.split.begin >= needed
        assert found.moments[0] - 24 * HOUR - length - dataset.split.begin < needed

    def test_of_no_window_at_all_are_refused(self, dataset: Dataset) -> None:
        for number in (0, -2):
            with pytest.raises(ConfigError, match=f"--windows {number}"):
                choose_cutoffs(dataset, "test", num_windows=number)
        split = dataset.split.model_copy(update={"test": dataset.split.end - HOUR})
        with pytest.raises(DataError, match="no window of the test split"):
            choose_cutoffs(replace(dataset, split=split), "test")


def test_a_cutoff_at_which_nothing_came_is_left_out_and_named(tmp_path: Path) -> None:
    frames = make_frames()
    hours = frames["load"]["time"] - START
    last = pd.Timedelta(days=DAYS)
    silent = (hours >= last - pd.Timedelta(hours=12)) & (hours < last - pd.Timedelta(hours=6))
    frames["load"].loc[silent, "load"] = float("nan")
    dataset = opened(train_tiny(tmp_path, frames, tiny_settings()))[1]
    found = choose_cutoffs(dataset, "test", num_windows=3)
    end = dataset.split.end
    assert found.moments == (end - 18 * HOUR, end - 6 * HOUR)
    assert found.empty == (end - 12 * HOUR,)
