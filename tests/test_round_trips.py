"""What is written reads back as it was, whatever was drawn: configs and scalers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmts.config import ExperimentConfig, load_config
from mmts.config_yaml import parse_yaml, write_yaml
from mmts.data.scaling import StreamScaling, column_encoder, fit_scaling
from mmts.data.schema import ColumnSchema, StreamSchema
from mmts.data.table import Table, Words
from mmts.data.text.config import TfidfConfig
from mmts.errors import ConfigError

# Words that YAML might take for something else, among any others that a file can hold.
WORDS = st.one_of(
    st.sampled_from(["no", "null", "~", "1e5", "0x1f", "12:30", "2024-01-01", "=", "<<", "&a"]),
    st.text(
        st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=12
    ).filter(lambda word: word.strip() == word),
)  # fmt: skip
FEW = settings.default.max_examples // 4
"""Examples, in the measure of the profile that was chosen."""

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True)
NUMBERS = st.one_of(
    st.integers(-(10**12), 10**12), st.floats(allow_nan=False, allow_infinity=False), WORDS
)


@st.composite
def random_settings(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a config of one to three streams with any names and many of the settings."""
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    streams: dict[str, Any] = {}
    encoders: dict[str, Any] = {}
    for name in names:
        columns = draw(st.lists(WORDS, min_size=4, max_size=6, unique=True))
        time, first, *others = columns
        streams[name] = {
            "path": draw(WORDS),
            "time": time,
            "target" if name == names[0] else "past": [first],
            "category": others[:1],
            "text": others[1:],
            "missing_values": draw(st.lists(NUMBERS, max_size=4)),
            "delay": draw(st.sampled_from(["0s", "90s", "2h", "1d12h"])),
            "context_length": draw(st.sampled_from([7, "36h", "1mo"])),
            "duplicates": draw(st.sampled_from(["error", "mean", "first"])),
        }
        kind = draw(st.sampled_from(["patch", "conv", "mlp", "recurrent", "linear", "variate"]))
        encoders[name] = {
            "kind": kind,
            "dim": 2 * draw(st.integers(1, 30)),
            "num_layers": draw(st.integers(1, 4)),
            "dropout": draw(st.floats(0, 0.99)),
        }
    preset = draw(st.sampled_from(["none", "last", "lowlevel", "dense"]))
    edges = draw(st.sampled_from(["film", "attention"]))
    return {
        "name": draw(NAMES),
        "seed": draw(st.integers(0, 2**32 - 1)),
        "data": {
            "horizon": draw(st.sampled_from([3, "6h", "1d", "1y"])),
            "streams": streams,
            "split": {"validation": draw(st.floats(0.01, 0.5)), "test": "2024-05-01"},
        },
        "model": {
            "encoders": encoders,
            "interactions": [{"preset": preset, "kind": edges}],
        },
        "training": {"learning_rate": draw(st.floats(1e-9, 0.1))},
    }  # fmt: skip


@given(drawn=random_settings())
@settings(
    deadline=None,
    max_examples=FEW,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_resolved_config_reads_back_as_itself(tmp_path: Path, drawn: dict[str, Any]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(write_yaml(drawn), encoding="utf-8")
    try:
        config = load_config(path)
    except ConfigError:
        return  # such as two streams of one name but for a capital, or a text encoder's stream
    again = tmp_path / "again.yaml"
    again.write_text(config.to_yaml(), encoding="utf-8")
    assert load_config(again) == config
    assert ExperimentConfig.model_validate(json.loads(json.dumps(config.to_json()))) == config


@given(drawn=st.dictionaries(WORDS, st.recursive(NUMBERS | st.booleans() | st.none(), st.lists)))
@settings(deadline=None, max_examples=FEW)
def test_any_settings_are_written_as_yaml_that_reads_back(drawn: dict[str, Any]) -> None:
    assert parse_yaml(write_yaml(drawn), "x") == drawn


STREAM = StreamSchema(
    columns=(
        ColumnSchema(name="number", role="static", type="number"),
        ColumnSchema(name="word", role="static", type="category"),
    ),
    time=None, item=None, has_items=False, clock=None, stamp="start", delay=0, known_ahead=None,
    context_steps=1, context_span=0, future_steps=0,
)  # fmt: skip

VALUES = st.lists(
    st.none() | st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=40
)  # fmt: skip


def table_of(values: list[float | None], codes: list[int], words: tuple[str, ...]) -> Table:
    numbers = np.array([np.nan if value is None else value for value in values])
    return Table(
        source="drawn",
        items=None,
        begin=np.array([0]),
        end=np.array([len(values)]),
        times=None,
        columns={"number": numbers, "word": Words(np.array(codes, dtype=np.int32), words)},
        has_time_zone=False,
    )


@given(values=VALUES, offset=st.sampled_from([0.0, 1e6]), seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=FEW)
def test_what_was_scaled_comes_back(values: list[float | None], offset: float, seed: int) -> None:
    values = [None if value is None else value + offset for value in values]
    words = ("a", "b", "c")
    codes = np.random.default_rng(seed).integers(-1, 3, len(values)).tolist()
    table = table_of(values, codes, words)
    scaling = fit_scaling(table, STREAM, TfidfConfig(), cut=0)
    # As in a checkpoint: through JSON and back, to the bit.
    scaling = StreamScaling.model_validate(json.loads(json.dumps(scaling.model_dump(mode="json"))))
    number = scaling.numbers["number"]
    scaled = column_encoder(table, STREAM.columns[0], scaling)(slice(None))[:, 0]
    restored = scaled.astype(np.float64) * number.scale + number.mean
    wanted = table.numbers("number")
    assert np.array_equal(np.isnan(restored), np.isnan(wanted))
    # float32 keeps seven digits of what a value differs from the mean.
    farthest = np.nanmax(np.abs(wanted - number.mean), initial=1.0)
    np.testing.assert_allclose(restored, wanted, rtol=1e-12, atol=2e-7 * farthest)

    vocabulary = scaling.vocabularies["word"]
    coded = column_encoder(table, STREAM.columns[1], scaling)(slice(None))[:, 0]
    said = [None if np.isnan(code) else vocabulary[int(code) - 1] for code in coded]
    assert said == [None if code < 0 else words[code] for code in codes]


@pytest.mark.parametrize("word", ["d", ""])
def test_a_word_that_was_never_seen_has_the_code_of_none(word: str) -> None:
    scaling = fit_scaling(table_of([1.0], [0], ("a",)), STREAM, TfidfConfig(), cut=0)
    unseen = table_of([1.0], [0], (word,))
    assert column_encoder(unseen, STREAM.columns[1], scaling)(slice(None)).tolist() == [[0.0]]
