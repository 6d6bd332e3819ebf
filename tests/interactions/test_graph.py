"""The graph: what is refused, what runs and in which order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from mmts.errors import ConfigError
from mmts.interactions.graph import OUT, Node, build_schedule, name_edges
from mmts.interactions.kinds import InteractionConfig
from mmts.interactions.presets import PresetConfig, expand

LAYERS = {"load": 3, "weather": 2}


def edge(kind: str, source: str | list[str], to: str, **settings: Any) -> InteractionConfig:
    return TypeAdapter(InteractionConfig).validate_python(
        {"kind": kind, "from": source, "to": to, **settings}
    )


def schedule(*edges: InteractionConfig) -> Any:
    return build_schedule(LAYERS, name_edges(edges), [Node("load", OUT)])


@pytest.mark.parametrize(
    ("faulty", "words"),
    [
        (edge("residual", "wether.1", "load.2"), ["'wether'", "did you mean 'weather'"]),
        (edge("residual", "weather.7", "load.2"), ["weather.7 does not exist", "nodes 0 to 2"]),
        (edge("film", ["weather.0", "load.0"], "load.2"), ["one source, not 2"]),
        (edge("weighted", ["weather.0", "weather.0"], "load.2"), ["a source twice"]),
        (edge("residual", "load.3", "load.2"), ["its own result", "load.2 -> load.3"]),
        (edge("residual", "load.2", "load.2"), ["its own result"]),
        (edge("residual", "load.out", "load.0"), ["its own result"]),
    ],
)
def test_a_fault_names_the_edge(faulty: InteractionConfig, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        schedule(faulty)
    for word in (f"'{next(iter(name_edges([faulty])))}'", *words):
        assert word in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        schedule(edge("residual", "wether.1", "load.2"), edge("residual", "load.0", "load.9"))
    assert len(str(caught.value).splitlines()) == 2


def test_a_cycle_through_two_streams_names_both_edges() -> None:
    there, back = edge("residual", "load.2", "weather.1"), edge("residual", "weather.2", "load.1")
    with pytest.raises(ConfigError) as caught:
        schedule(there, back)
    assert "load.2_to_weather.1" in str(caught.value)
    assert "weather.2_to_load.1" in str(caught.value)


def test_nodes_without_a_path_to_the_head_do_not_run() -> None:
    found = schedule(edge("residual", "weather.1", "load.2"))
    assert found.idle == (Node("weather", "2"), Node("weather", OUT))
    assert found.depth("weather") == 1
    assert schedule().idle_streams() == ["weather"]


def test_edges_into_an_idle_node_do_not_run() -> None:
    found = schedule(edge("residual", "load.0", "weather.2"))
    assert not found.edges


def test_names_are_unique_and_own_names_are_kept() -> None:
    same = edge("residual", "weather.1", "load.2")
    names = list(name_edges([same, same, edge("residual", "load.0", "load.2", name="mine")]))
    first = "residual_weather.1_to_load.2"
    assert names == [first, f"{first}_2", "mine"]
    with pytest.raises(ConfigError, match="2 edges are named 'mine'"):
        name_edges([same.model_copy(update={"name": "mine"})] * 2)


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("none", []),
        ("last", ["weather.out to load.out"]),
        ("ladder", ["weather.0 to load.1", "weather.1 to load.2", "weather.2 to load.3"]),
        ("lowlevel", ["weather.0 to load.1", "weather.0 to load.2", "weather.0 to load.3"]),
    ],
)
def test_presets_expand_to_plain_edges(preset: Any, expected: list[str]) -> None:
    edges = expand([PresetConfig(preset=preset)], LAYERS, "load")
    assert [f"{e.sources[0]} to {e.to}" for e in edges] == expected
    schedule(*edges)


@st.composite
def random_graphs(draw: st.DrawFn) -> tuple[dict[str, int], list[InteractionConfig]]:
    layers = draw(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 4), min_size=1))
    nodes = [f"{s}.{n}" for s, depth in layers.items() for n in (*range(depth + 1), OUT)]
    node = st.sampled_from(nodes)
    pairs = draw(st.lists(st.tuples(node, node), max_size=8))
    return layers, [edge("residual", source, to) for source, to in pairs]


@given(random_graphs())
@settings(deadline=None)
def test_every_valid_graph_runs_each_node_after_all_it_needs(
    graph: tuple[dict[str, int], list[InteractionConfig]],
) -> None:
    layers, edges = graph
    named = name_edges(edges)
    read = Node(next(iter(layers)), OUT)
    try:
        found = build_schedule(layers, named, [read])
    except ConfigError as error:
        assert "its own result" in str(error)  # noqa: PT017 - both outcomes are right
        return
    assert found.nodes[-1] == read or read in found.nodes
    done: set[Node] = set()
    for node in found.nodes:
        for name in found.edges.get(node, ()):
            assert {Node.parse(source) for source in named[name].sources} <= done
        if node.layer not in ("0", OUT):
            assert Node(node.stream, str(int(node.layer) - 1)) in done
        done.add(node)
