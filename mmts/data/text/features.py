"""Text features: a fixed number of channels per text, fitted on what was known before the cut."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from mmts.config_base import Config
from mmts.data.text.config import TextConfig, TfidfConfig
from mmts.data.text.embedding import (
    EmbeddingCache,
    PretrainedConfig,
    describe_embedder,
    embed_texts,
)
from mmts.errors import DataError

# Short words count ("up", "no", "5"): no list of stop words knows what moves a forecast, and
# words that stand everywhere weigh little anyway. A longer run of letters is a key or a blob.
_WORD = r"(?u)\b\w{1,64}\b"
# A direction weaker than this, relative to all texts together, is rounding and no direction.
_WEAKEST = 1e-5

logger = logging.getLogger(__name__)


class TextState(Config):
    """The part of fitted text features that is written as JSON.

    words: those of `tfidf`, in the order of the arrays. width: of what is projected, which is the
    number of words or the width of the embedding; 0 when there was nothing to learn from.
    embedder: package, version and model that made the embeddings.
    """

    config: TextConfig
    words: tuple[str, ...] = ()
    width: int = Field(ge=0)
    embedder: str = ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        num_words = self.width if isinstance(self.config, TfidfConfig) else 0
        if len(self.words) != num_words:
            raise ValueError(f"{len(self.words)} words, where {num_words} are expected")
        if len(set(self.words)) < len(self.words):
            raise ValueError("a word stands twice among the words")
        return self

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each array that belongs to this state."""
        first = "idf" if isinstance(self.config, TfidfConfig) else "mean"
        return {first: (self.width,), "components": (self.config.dim, self.width)}


@dataclass(frozen=True)
class TextFeatures:
    """Turns texts into channels; `state` and `arrays` together are all that it knows.

    arrays: float32. components: (dim, word) or (dim, width), zero in channels for which the train
    split held too few texts or words. idf: (word,), the weight of each word. mean: (width,).
    """

    state: TextState
    arrays: dict[str, npt.NDArray[np.float32]]

    @classmethod
    def restore(cls, state: TextState, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Rebuild features that were stored.

        Raises ValueError when names, shapes, types or values of the arrays do not fit the state.
        """
        if set(arrays) != set(state.shapes):
            wrong = ", ".join(sorted(set(arrays) ^ set(state.shapes)))
            raise ValueError(f"arrays of text features missing or unknown: {wrong}")
        for name, shape in state.shapes.items():
            array = arrays[name]
            if array.dtype != np.float32:
                raise ValueError(f"array {name} of text features holds {array.dtype}, not float32")
            if array.shape != shape:
                raise ValueError(
                    f"array {name} of text features has shape {array.shape}, not {shape}"
                )
            if not np.isfinite(array).all():
                raise ValueError(f"array {name} of text features holds values that are not finite")
        return cls(state, {name: np.ascontiguousarray(arrays[name]) for name in state.shapes})

    @property
    def dim(self) -> int:
        """Number of channels."""
        return self.state.config.dim

    @property
    def is_empty(self) -> bool:
        """Whether every channel of every text is zero: the train split held nothing to learn."""
        return not self.arrays["components"].any()

    def transform(
        self, texts: Sequence[str | None], cache: EmbeddingCache | None = None
    ) -> npt.NDArray[np.float32]:
        """Return the channels of each text, (text, dim).

        An empty or missing text is zero everywhere, and so is one of unknown words under `tfidf`.
        A text's channels do not depend on the others, unless `batch_size` allows it. Raises
        DataError when a pretrained model is missing, or is not the one of training.
        """
        plain = [plain_text(text) for text in texts]
        distinct = sorted(set(plain) - {""})
        channels = np.zeros((1 + len(distinct), self.dim), dtype=np.float32)
        if distinct and not self.is_empty:
            channels[1:] = self._project(distinct, cache)
        places = {"": 0} | {text: place for place, text in enumerate(distinct, start=1)}
        return channels[np.array([places[text] for text in plain], dtype=np.intp)]

    def _project(self, texts: list[str], cache: EmbeddingCache | None) -> npt.NDArray[np.float32]:
        components = self.arrays["components"]
        config = self.state.config
        if isinstance(config, TfidfConfig):
            vectorizer = _build_vectorizer(config, self.state.words)
            vectorizer.idf_ = self.arrays["idf"]
            # A sparse product goes row by row, so that no text can move another's last bit.
            weighed: npt.NDArray[np.float32] = vectorizer.transform(texts) @ components.T
            return weighed
        embedder = describe_embedder(config)
        if embedder != self.state.embedder:
            logger.warning(
                "texts were embedded by %s in training, and are now by %s; install the former "
                "if forecasts differ",
                self.state.embedder,
                embedder,
            )
        embeddings = embed_texts(config, texts, cache)
        if embeddings.shape[1] != self.state.width:
            raise DataError(
                f"{embedder} gives {embeddings.shape[1]} values per text, and the model was "
                f"trained on {self.state.width} from {self.state.embedder}. Install the latter."
            )
        # Summed text by text, for the same reason: a matrix product rounds by the size of it.
        centred = embeddings - self.arrays["mean"]
        return np.stack([(components * text).sum(axis=1) for text in centred])


def plain_text(text: str | None) -> str:
    """Return a text in the one form in which it is compared, embedded and hashed.

    A missing text is empty, as is one of blanks; accents are composed, so that what looks alike
    is alike; half of a surrogate pair, which is no character, becomes a question mark.
    """
    if text is None:
        return ""
    known = text.encode("utf-8", errors="replace").decode("utf-8")
    return unicodedata.normalize("NFC", known).strip()


def fit_text(
    config: TextConfig, texts: Sequence[str | None], cache: EmbeddingCache | None = None
) -> TextFeatures:
    """Fit text features on the texts that were known before the train cut.

    Each distinct text counts once, in whatever order. All channels share one scale, such that
    their mean square over these texts is 1, as it is of numbers that are standardised; angles
    between texts stay as they are. Where texts or words are fewer than `dim`, the channels
    beyond are zero; without any word at all, every channel is (`is_empty`; the caller, who knows
    which column it is, says so). Raises DataError when the package or the model of a pretrained
    kind is missing.
    """
    distinct = sorted({plain_text(text) for text in texts} - {""})
    if isinstance(config, TfidfConfig):
        return _fit_tfidf(config, [text for text in distinct if re.search(_WORD, text)])
    return _fit_pretrained(config, distinct, cache)


def _fit_tfidf(config: TfidfConfig, texts: list[str]) -> TextFeatures:
    if not texts:
        return _empty(TextState(config=config, width=0))
    # Imported here because only an experiment with texts needs it.
    from sklearn.utils.extmath import randomized_svd

    vectorizer = _build_vectorizer(config)
    weights = vectorizer.fit_transform(texts)
    # What TruncatedSVD does, without its variance ratios, which a single text divides by zero.
    _, strengths, directions = randomized_svd(
        weights, min(config.dim, *weights.shape), n_iter=5, random_state=0
    )
    state = TextState(
        config=config,
        words=tuple(map(str, vectorizer.get_feature_names_out())),
        width=weights.shape[1],
    )
    # Every text has length 1.
    weakest = _WEAKEST * float(np.sqrt(len(texts)))
    components = _scale(directions, strengths, weakest, len(texts), config.dim)
    return TextFeatures(
        state, {"idf": vectorizer.idf_.astype(np.float32), "components": components}
    )


def _fit_pretrained(
    config: PretrainedConfig, texts: list[str], cache: EmbeddingCache | None
) -> TextFeatures:
    embedder = describe_embedder(config)
    if not texts:
        return _empty(TextState(config=config, width=0, embedder=embedder))
    embeddings = embed_texts(config, texts, cache)
    # Centred, unlike the counts of words: embeddings of one language share a large part, which
    # would take the first channel and say nothing.
    mean = embeddings.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = (embeddings - mean).astype(np.float64)
    squares, vectors = np.linalg.eigh(centred.T @ centred)
    strengths = np.sqrt(squares[::-1].clip(min=0))[: config.dim]
    directions = vectors.T[::-1][: config.dim]
    weakest = _WEAKEST * float(np.linalg.norm(embeddings))
    components = _scale(directions, strengths, weakest, len(texts), config.dim)
    state = TextState(config=config, width=embeddings.shape[1], embedder=embedder)
    return TextFeatures(state, {"mean": mean, "components": components})


def _scale(
    directions: npt.NDArray[np.floating],
    strengths: npt.NDArray[np.floating],
    weakest: float,
    num_texts: int,
    dim: int,
) -> npt.NDArray[np.float32]:
    """Return components (dim, width): the directions that count, on one scale, then zeros.

    directions: (direction, width), of length 1, the strongest first. strengths: (direction,), the
    length of all texts along each.
    """
    components = np.zeros((dim, directions.shape[1]), dtype=np.float32)
    num_kept = int((strengths > weakest).sum())
    if num_kept:
        size = np.sqrt((strengths[:num_kept] ** 2).sum() / (num_texts * num_kept))
        components[:num_kept] = directions[:num_kept] / size
    return components


def _empty(state: TextState) -> TextFeatures:
    return TextFeatures(state, {n: np.zeros(s, np.float32) for n, s in state.shapes.items()})


def _build_vectorizer(config: TfidfConfig, words: Sequence[str] | None = None) -> Any:
    """Build what counts and weighs words; without `words` it is to be fitted."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        token_pattern=_WORD,
        ngram_range=(1, config.ngrams),
        max_features=config.max_words,
        # The tenth mention of a word says less than the first.
        sublinear_tf=True,
        vocabulary=words,
        dtype=np.float32,
    )
