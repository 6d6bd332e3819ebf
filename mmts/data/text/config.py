"""Settings of text columns: how a text becomes a fixed number of channels."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mmts.config_base import Config, default_kind


class TextSettings(Config):
    """Settings that all kinds share."""

    # The upper bound keeps a checkpoint of a stranger from asking for all the memory there is.
    dim: int = Field(32, gt=0, le=4096, description="Channels that a text becomes.")


class TfidfConfig(TextSettings):
    """Counts of words, the rare ones weighing more, reduced to the directions that they share.

    Learned from the texts of the train split alone, so it suits any language that puts spaces
    between words. Known as latent semantic analysis.
    """

    kind: Literal["tfidf"] = "tfidf"
    max_words: int = Field(
        20_000, gt=0, le=1_000_000, description="Words to keep, the most frequent first."
    )
    ngrams: int = Field(
        1, ge=1, le=3, description="Longest run of words that is counted as a word of its own."
    )


class WordLlamaConfig(TextSettings):
    """Mean of pretrained vectors of word pieces; the weights come with the package `wordllama`."""

    kind: Literal["wordllama"] = "wordllama"


class SentenceTransformerConfig(TextSettings):
    """A pretrained transformer for sentences; slow without a GPU, and worth caching.

    It reads the beginning of a text, as far as the model goes. Nothing is downloaded: the model
    must lie on this machine, with its weights as safetensors and without code of its own.
    """

    kind: Literal["sentence_transformer"] = "sentence_transformer"
    model: str = Field(
        min_length=1,
        description="Folder of the model, or its name on the Hugging Face hub once downloaded.",
    )
    batch_size: int = Field(
        1,
        gt=0,
        description="Texts embedded at once. More is faster, but the texts of a batch then change "
        "the last bits of one another's channels.",
    )


TextConfig = Annotated[
    TfidfConfig | WordLlamaConfig | SentenceTransformerConfig,
    Field(discriminator="kind"),
    default_kind("tfidf"),
]
