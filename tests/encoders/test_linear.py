"""The encoder that is linear up to its final norm."""

from __future__ import annotations

from dataclasses import replace

import torch

from tests.encoders.windows import build, make_window, run

SETTINGS = {"kind": "linear", "dim": 8, "num_layers": 3}


def test_it_is_linear_in_the_numbers_up_to_the_final_norm() -> None:
    encoder = build(SETTINGS)
    window = make_window()
    is_number = torch.arange(8) != 2
    one = torch.where(is_number, torch.randn(2, 16, 8), window.values)
    other = torch.where(is_number, torch.randn(2, 16, 8), window.values)
    mixed = torch.where(is_number, 0.3 * one + 0.7 * other, window.values)
    last_one, last_other, last_mixed = (
        run(encoder, replace(window, values=values))[-2].values for values in (one, other, mixed)
    )
    torch.testing.assert_close(last_mixed, 0.3 * last_one + 0.7 * last_other)


def test_every_step_reads_every_other_in_one_layer() -> None:
    encoder = build(SETTINGS)
    tokens = encoder.embed(make_window())
    values = tokens.values.detach().requires_grad_()
    output = encoder.run_layer(1, replace(tokens, values=values)).values
    (gradient,) = torch.autograd.grad(output[:, 0].sum(), values)
    assert torch.equal(gradient.any(-1), tokens.grid.observed)


def test_it_begins_near_its_embedding() -> None:
    nodes = run(build({**SETTINGS, "num_layers": 1}), make_window())
    moved = (nodes[1].values - nodes[0].values).norm() / nodes[0].values.norm()
    assert 0 < moved < 0.3
