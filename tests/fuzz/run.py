"""Fuzz one of the readers, guided by what of the code each input reaches.

python -m tests.fuzz.run csv --seconds 600
python -m tests.fuzz.run checkpoint --runs 2000

Seeds are those in corpus/; what is found is kept in --found, by default a temporary folder. Ends
with an error, and leaves the input in that folder, when a reader raises anything but words.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import logging
import random
import resource
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["mmts", "yaml"]):
    from tests.fuzz.targets import CORPUS, TARGETS

MEMORY_MB = 3000
"""What the process may hold, of which torch, pandas and the instruments take some 700."""

DESCRIBED = ("checkpoint", "parquet")
"""Targets whose inputs are descriptions, in JSON."""

STRANGE: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2, 3, 7, 10**6, 10**9, 2**31, 2**53, 2**63 - 1, -(2**63), 0.5, 1e308,
    "", "load", "../x", "out", "load.0", "load.9", "9999-12-31", "1h", "1mo", "a" * 300, "\u2028",
    [], {}, [[]], [None], {"": None}, {"kind": "conv"}, {"preset": "dense"},
)  # fmt: skip


def mutate_json(data: bytes, max_size: int, seed: int) -> bytes:
    """Change one place of a description, or the bytes of any other input."""
    drawn = random.Random(seed)
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict) or drawn.random() < 0.1:
        changed: bytes = atheris.Mutate(data, max_size)
        return changed
    for _ in range(drawn.choice((1, 1, 1, 2, 4))):
        _change_one_place(tree, drawn)
    return json.dumps(tree).encode()[:max_size]


def _change_one_place(tree: Any, drawn: random.Random) -> None:
    place, depth = tree, drawn.randint(1, 9)
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = drawn.choice(keys)
        child, depth = place[key], depth - 1
        if isinstance(child, (dict, list)) and child and depth > 0:
            place = child
            continue
        match drawn.randint(0, 5):
            case 0:
                del place[key]
            case 1 if isinstance(place, list):
                place.append(child)
            case 2 if isinstance(place, dict):
                place[drawn.choice(("x", "kind", "name", str(key) * 2))] = child
            case 3 if isinstance(child, (int, float)) and not isinstance(child, bool):
                place[key] = child * drawn.choice((-1, 0, 2, 10, 1000)) + drawn.choice((-1, 0, 1))
            case _:
                place[key] = copy.deepcopy(drawn.choice(STRANGE))
        return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, help="how long to go on")
    parser.add_argument("--runs", type=int, help="how many inputs to try")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--found", type=Path, help="folder that keeps what reaches new code")
    chosen = parser.parse_args()
    found = chosen.found or Path(tempfile.mkdtemp(prefix=f"mmts-found-{chosen.target}-"))
    found.mkdir(parents=True, exist_ok=True)
    logging.disable()
    warnings.simplefilter("ignore")
    limit = MEMORY_MB << 20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    options = [
        f"-artifact_prefix={found}/failed-", f"-seed={chosen.seed or 1}", "-timeout=60",
        f"-rss_limit_mb={MEMORY_MB}", "-max_len=65536", "-len_control=0", "-print_final_stats=1",
    ]  # fmt: skip
    if chosen.seconds is not None:
        options.append(f"-max_total_time={chosen.seconds}")
    if chosen.runs is not None:
        options.append(f"-runs={chosen.runs}")
    arguments = [sys.argv[0], *options, str(found), str(CORPUS / chosen.target)]
    own = {"custom_mutator": mutate_json} if chosen.target in DESCRIBED else {}
    gc.freeze()
    atheris.Setup(arguments, TARGETS[chosen.target], **own)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
