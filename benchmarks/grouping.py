"""Whether layers of equal encoders are quicker in one call than one after another.

python benchmarks/grouping.py --json grouping.json

Layers of as many streams as are asked for, of the same kind, width and number of tokens: forward
and backward, each by itself, and as one call with stacked weights (`torch.func.stack_module_state`
and `vmap`). That both say the same is checked first. Weights are stacked before, which a model that
keeps one set per encoder would have to do in every step; so this is the most that can be won.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from taking_turns import Spread, ratios, time_in_turn, write_json
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from mmts.encoders.mlp import ResidualMLP
from mmts.layers.transformer import TransformerLayer
from mmts.tokens import TokenGrid

KINDS: dict[str, Callable[[int], nn.Module]] = {
    "mlp": lambda dim: ResidualMLP(dim, dropout=0.1),
    "patch": lambda dim: TransformerLayer(dim, num_heads=4, dropout=0.1, time_unit=3600.0),
}


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dims", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--tokens", type=int, default=12)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for what was measured")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = []
    for kind in KINDS:
        for dim in arguments.dims:
            for batch in arguments.batch:
                row = {"kind": kind, "dim": dim, "batch": batch}
                row |= measure(kind, dim, batch, arguments)
                found.append(row)
                print(
                    f"{kind:6} of {dim:3}, {arguments.streams} streams, batches of {batch:4}: "
                    f"{row['milliseconds']:.2f} ms one by one, {row['ratio']:.2f} of it as one"
                )
    write_json(arguments.json, {"streams": arguments.streams, "grouping": found})


def measure(kind: str, dim: int, batch: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Take turns; returns milliseconds one by one, and the ratio of all as one."""
    torch.manual_seed(0)
    chains = [[KINDS[kind](dim) for _ in range(arguments.layers)] for _ in range(arguments.streams)]
    grid = make_grid(batch, arguments.tokens)
    tokens = torch.randn(arguments.streams, batch, arguments.tokens, dim)
    bases, states = [], []
    for layers in zip(*chains, strict=True):
        # Its types ask for a list of plain modules, of which these are a kind.
        params, buffers = stack_module_state(list[nn.Module](layers))
        states.append((params, buffers))
        bases.append(copy.deepcopy(layers[0]))

    def one_by_one() -> Tensor:
        said = []
        for stream, chain in enumerate(chains):
            values = tokens[stream]
            for layer in chain:
                values = layer(values, grid)
            said.append(values)
        return torch.stack(said)

    def as_one() -> Tensor:
        values = tokens
        for base, (params, buffers) in zip(bases, states, strict=True):

            def call(params: Any, buffers: Any, values: Tensor, base: nn.Module = base) -> Tensor:
                found: Tensor = functional_call(base, (params, buffers), (values, grid))
                return found

            values = vmap(call, randomness="different")(params, buffers, values)
        return values

    def both_ways(forward: Callable[[], Tensor]) -> Callable[[], None]:
        return lambda: forward().square().mean().backward()

    modules = [*bases, *(layer for chain in chains for layer in chain)]
    for module in modules:
        module.eval()
    torch.testing.assert_close(as_one(), one_by_one(), rtol=1e-4, atol=1e-4)
    for module in modules:
        module.train()
    actions = {"one by one": both_ways(one_by_one), "as one": both_ways(as_one)}
    seconds = time_in_turn(actions, arguments.turns)
    return {
        "milliseconds": Spread.of([1e3 * s for s in seconds["one by one"]]),
        "ratio": ratios(seconds["as one"], seconds["one by one"]),
    }


def make_grid(batch: int, tokens: int) -> TokenGrid:
    """Make tokens of two hours each, of which the last ends at the origin."""
    end = 7200.0 * (torch.arange(tokens) + 1 - tokens).expand(batch, -1)
    return TokenGrid(
        start=end - 7200.0,
        end=end,
        available=end,
        observed=torch.ones(batch, tokens, dtype=torch.bool),
        ageless=False,
    )


if __name__ == "__main__":
    main()
