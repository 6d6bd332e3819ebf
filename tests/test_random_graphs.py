"""Models of any graph: edges that are switched off are as if they were not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmts.checkpoint import build_model
from mmts.config import load_config
from mmts.data.dataset import Dataset, load_dataset
from mmts.errors import ConfigError
from tests.factories import make_settings, write_config, write_world
from tests.test_model import wake

NODES = [
    f"{stream}.{layer}"
    for stream, depth in {"load": 3, "weather": 2, "plan": 1, "news": 1, "site": 1}.items()
    for layer in (*range(depth + 1), "out")
]
NODE = st.sampled_from(NODES)
ONE = st.sampled_from(["residual", "film", "attention", "joint"])
SEVERAL = st.sampled_from(["weighted", "bottleneck"])


def edge(kind: str, sources: str | list[str], to: str) -> dict[str, Any]:
    return {"kind": kind, "from": sources, "to": to}


EDGES = st.lists(
    st.one_of(
        st.builds(edge, ONE, NODE, NODE),
        st.builds(edge, SEVERAL, st.lists(NODE, min_size=1, max_size=3, unique=True), NODE),
    ),
    min_size=1, max_size=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return load_dataset(load_config(write_config(folder, make_settings())).data)


@given(edges=EDGES, data=st.data())
@settings(deadline=None, max_examples=settings.default.max_examples // 5)
def test_edges_of_any_graph_switched_off_equal_edges_never_there(
    folder: Path, dataset: Dataset, edges: list[dict[str, Any]], data: st.DataObject
) -> None:
    def build(interactions: list[dict[str, Any]]) -> Any:
        drawn = make_settings()
        drawn["model"] |= {"linear": None, "interactions": interactions}
        config = load_config(write_config(folder, drawn))
        return wake(build_model(config, dataset.schema, dataset.scaling)), config

    try:
        model, config = build(edges)
    except ConfigError as error:
        assert "its own result" in str(error)  # noqa: PT017 - both outcomes are right
        return
    batch = dataset.windows("train").gather(torch.arange(0, 60, 29))
    names = [edge.name for edge in config.model.interactions]
    assume(set(names) & set(model.sources))
    off = data.draw(st.sets(st.sampled_from(names), min_size=1), label="switched off")
    kept = [
        {**one, "name": name} for one, name in zip(edges, names, strict=True) if name not in off
    ]
    without, _ = build(kept)
    for name in off & set(model.sources):
        model.switch_edge(name, 0.0)
    # What both have they have of the same weights, whatever else was built.
    assert not without.load_state_dict(model.state_dict(), strict=False).missing_keys
    torch.testing.assert_close(model(batch), without(batch), rtol=1e-5, atol=1e-6)
