"""Ridge regression against scikit-learn, with missing targets, and deaf to outliers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from mmts.linear import regression
from mmts.linear.regression import HUBER, RidgeProblem


def make_problem(num_rows: int, num_features: int) -> tuple[torch.Tensor, ...]:
    """Make features, targets and masks of five outputs: all, a run, noise, a mask twice, none."""
    random = np.random.default_rng(0)
    features = random.normal(0.5, 1, (num_rows, num_features))
    targets = features @ random.normal(size=(num_features, 5)) + random.normal(2, 1, (num_rows, 5))
    observed = np.ones((num_rows, 5), dtype=bool)
    observed[: num_rows // 3, 1] = False
    observed[:, 2] = random.random(num_rows) < 0.7
    observed[:, 3] = observed[:, 1]
    observed[:, 4] = False
    targets = np.where(observed, targets, 0.0)
    return (
        torch.from_numpy(features).float(),
        torch.from_numpy(targets).float(),
        torch.from_numpy(observed),
    )


@pytest.fixture
def many_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regression, "MAX_ROUNDS", 300)
    monkeypatch.setattr(regression, "TOLERANCE", 1e-4)


@pytest.mark.usefixtures("many_rounds")
@pytest.mark.parametrize("shape", [(200, 30), (60, 150), (50, 50)])
@pytest.mark.parametrize("is_double", [True, False])
def test_maps_equal_those_of_scikit_learn_on_the_rows_observed(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], is_double: bool
) -> None:
    monkeypatch.setattr(regression, "MAX_DOUBLE", 1500 if is_double else 0)
    features, targets, observed = make_problem(*shape)
    problem = RidgeProblem(features, targets, observed, is_robust=False)
    penalties = (1.0, 0.1)
    for penalty, solution in zip(penalties, problem.solve(penalties, torch.arange(5)), strict=True):
        for output in range(4):
            own = observed[:, output].numpy()
            theirs = Ridge(alpha=penalty * shape[0])
            theirs.fit(features.numpy()[own], targets.numpy()[own, output])
            # Of few rows weights are told less exactly than what they say.
            said = features[own] @ solution.weights[:, output] + solution.intercepts[output]
            expected = theirs.predict(features.numpy()[own])
            np.testing.assert_allclose(said, expected, atol=0.06)


def test_without_missing_values_one_round_is_exact() -> None:
    features, targets, _ = make_problem(200, 30)
    problem = RidgeProblem(features, targets, torch.ones(200, 5, dtype=torch.bool), False)
    (solution,) = problem.solve([0.1], torch.arange(5))
    theirs = Ridge(alpha=20).fit(features.numpy(), targets.numpy())
    np.testing.assert_allclose(solution.weights, theirs.coef_.T, atol=1e-5)


@pytest.mark.parametrize("share", [0.7, 0.2, 0.05])
@pytest.mark.parametrize("in_stretches", [True, False])
def test_the_usual_rounds_come_near_however_little_was_observed(
    share: float, in_stretches: bool
) -> None:
    features, targets, _ = make_problem(4000, 30)
    random = np.random.default_rng(1)
    observed = torch.from_numpy(random.random((4000, 5)) < share)
    if in_stretches:
        observed = torch.arange(4000)[:, None].expand(-1, 5) < 4000 * share
    targets = targets * observed
    (found,) = RidgeProblem(features, targets, observed, False).solve([0.01], torch.tensor([2]))
    own = observed[:, 2].numpy()
    theirs = Ridge(alpha=40).fit(features.numpy()[own], targets.numpy()[own, 2])
    np.testing.assert_allclose(found.weights[:, 0], theirs.coef_, atol=0.03)


def test_outputs_are_solved_in_blocks_as_together(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = RidgeProblem(*make_problem(200, 30), is_robust=True)
    (whole,) = problem.solve([0.1], torch.arange(5))
    monkeypatch.setattr(regression, "MAX_NUMBERS", 400)
    (parts,) = problem.solve([0.1], torch.arange(5))
    torch.testing.assert_close(parts.weights, whole.weights, atol=1e-2, rtol=0)
    assert parts.intercepts.shape == whole.intercepts.shape


def test_an_output_that_is_never_observed_is_mapped_to_zero() -> None:
    (solution,) = RidgeProblem(*make_problem(40, 5), is_robust=True).solve([0.1], torch.arange(5))
    assert not solution.weights[:, 4].any()
    assert not solution.intercepts[4].any()


def test_some_outputs_are_solved_as_among_all() -> None:
    problem = RidgeProblem(*make_problem(40, 5), is_robust=False)
    (some,), (every,) = (problem.solve([0.1], o) for o in (torch.tensor([0]), torch.arange(5)))
    torch.testing.assert_close(some.weights[:, 0], every.weights[:, 0])


def test_a_penalty_too_small_to_solve_for_gives_no_numbers() -> None:
    features = torch.ones(40, 3) * torch.arange(40)[:, None]
    targets = torch.randn(40, 1, generator=torch.manual_seed(0))
    problem = RidgeProblem(features, targets, torch.ones(40, 1, dtype=torch.bool), False)
    large, none, small = problem.solve([1.0, 0.0, 0.1], torch.tensor([0]))
    assert none.weights.isnan().all()
    assert large.weights.isfinite().all()
    assert small.weights.isfinite().all()


@pytest.mark.usefixtures("many_rounds")
def test_the_robust_map_is_the_best_of_the_loss_of_huber() -> None:
    features, targets, observed = make_problem(200, 10)
    targets[::9, 0] += 50
    problem = RidgeProblem(features, targets, observed, is_robust=True)
    (solution,) = problem.solve([0.1], torch.arange(4))
    missed = targets[:, :4] - features @ solution.weights - solution.intercepts
    for output in range(4):
        own = missed[observed[:, output], output]
        limit = HUBER * float(own.abs().median()) / 0.6745
        pull = torch.zeros(200)
        pull[observed[:, output]] = own.clamp(-limit, limit)
        gradient = features.T @ pull / 200 - 0.1 * solution.weights[:, output]
        assert float(gradient.abs().max()) < 1e-2
        assert abs(float(pull.mean())) < 1e-2


def test_outliers_move_the_robust_map_little() -> None:
    features, targets, observed = make_problem(400, 10)
    spoiled = targets.clone()
    spoiled[::20, 0] += 100
    found = {
        (name, is_robust): next(
            RidgeProblem(features, values, observed, is_robust).solve([0.01], torch.tensor([0]))
        )
        for name, values in (("clean", targets), ("spoiled", spoiled))
        for is_robust in (False, True)
    }

    def moved(is_robust: bool) -> float:
        clean, dirty = found["clean", is_robust], found["spoiled", is_robust]
        return float((clean.weights - dirty.weights).norm())

    assert moved(is_robust=True) < 0.1 * moved(is_robust=False)
