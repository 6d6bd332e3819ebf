"""The recurrence, beside one that is written as a loop."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mmts.encoders.recurrent import run_recurrence
from tests.encoders.windows import EVENTS, build, make_window, run

SETTINGS = {"kind": "recurrent", "dim": 8, "num_layers": 1}


def draw(num_steps: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(num_steps)
    gate = torch.rand(2, num_steps, 3, generator=generator, dtype=torch.float64)
    candidate = torch.randn(2, num_steps, 3, generator=generator, dtype=torch.float64)
    return gate.requires_grad_(), candidate.requires_grad_()


def loop(gate: Tensor, candidate: Tensor) -> Tensor:
    state, states = torch.zeros_like(candidate[:, 0]), []
    for step in range(gate.shape[1]):
        state = (1 - gate[:, step]) * state + gate[:, step] * candidate[:, step]
        states.append(state)
    return torch.stack(states, dim=1)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 8, 9, 100])
def test_the_scan_equals_a_loop_in_values_and_gradients(num_steps: int) -> None:
    gate, candidate = draw(num_steps)
    scanned, looped = run_recurrence(gate, candidate), loop(gate, candidate)
    torch.testing.assert_close(scanned, looped)
    weights = torch.linspace(-1, 1, scanned.numel(), dtype=torch.float64).view_as(scanned)
    for found, expected in zip(
        torch.autograd.grad((scanned * weights).sum(), (gate, candidate)),
        torch.autograd.grad((looped * weights).sum(), (gate, candidate)),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


def test_a_closed_gate_leaves_the_state_as_it_was() -> None:
    gate, candidate = draw(50)
    gate = torch.cat([gate[:, :20], torch.zeros_like(gate[:, 20:])], dim=1)
    states = run_recurrence(gate, candidate)
    torch.testing.assert_close(states[:, 20:], states[:, 19:20].expand(-1, 30, -1))


def test_states_over_thousands_of_steps_stay_in_bounds_and_exact() -> None:
    gate, candidate = draw(3000)
    expected = loop(gate / 1000, candidate)
    found = run_recurrence((gate / 1000).float(), candidate.float())
    assert (found - expected).abs().max() < 1e-6
    assert found.abs().max() < candidate.abs().max()


def test_channels_remember_from_one_step_to_the_whole_window_at_first() -> None:
    gate = build(SETTINGS).layers[0].get_submodule("gate")
    opened = torch.sigmoid(gate.get_parameter("bias").detach())
    assert opened[0] == pytest.approx(1 / 2)
    assert opened[-1] == pytest.approx(1 / 17)


def test_steps_without_a_value_lie_between_others_as_if_they_were_not() -> None:
    encoder = build(SETTINGS, EVENTS).eval()
    window = make_window(EVENTS)
    observed = window.observed.clone()
    observed[:, 4:7] = False
    gap = replace(window, observed=observed)
    kept = [0, 1, 2, 3, 7, 8, 9]
    short = type(gap)(
        *(getattr(gap, part)[:, kept] for part in ("values", "observed", "start", "end")),
        gap.available[:, kept],
    )
    long_output, short_output = run(encoder, gap)[-1].values, run(encoder, short)[-1].values
    torch.testing.assert_close(long_output[:, kept], short_output)
