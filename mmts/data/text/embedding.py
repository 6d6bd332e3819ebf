"""Pretrained embeddings of texts: the slow step, which a caller may cache.

A text's embedding depends on that text alone, so it may be taken of any text at any time; what
is learned from the train split comes after it, in `mmts.data.text.features`. Nothing here uses
the network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, assert_never

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError

from mmts.data.text.config import SentenceTransformerConfig, WordLlamaConfig
from mmts.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PretrainedConfig = WordLlamaConfig | SentenceTransformerConfig

_WORDLLAMA_WEIGHTS = "weights/l2_supercat_256.safetensors"
_WORDLLAMA_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"


class EmbeddingCache(Protocol):
    """Keeps an array under a name, and makes it only when it is not there yet."""

    def load_or_make(
        self, key: str, make: Callable[[], npt.NDArray[np.float32]]
    ) -> npt.NDArray[np.float32]:
        """Return the array kept under this key, or that of `make`, which is then kept."""


def embed_texts(
    config: PretrainedConfig, texts: Sequence[str], cache: EmbeddingCache | None = None
) -> npt.NDArray[np.float32]:
    """Embed at least one text, each by itself.

    Returns (text, width), where the width is the model's. Raises DataError when the package or
    the model is missing, or when the model returns values that are not finite.
    """
    if cache is None:
        embeddings = _embed(config, texts)
    else:
        embeddings = cache.load_or_make(_cache_key(config, texts), lambda: _embed(config, texts))
    if not np.isfinite(embeddings).all():
        raise DataError(
            f"{describe_embedder(config)} gives values that are not finite. "
            "Choose another model or kind of text features."
        )
    return embeddings


def describe_embedder(config: PretrainedConfig) -> str:
    """Return the package with its version, and the model, that embed texts on this machine.

    Raises DataError when the package is missing.
    """
    match config:
        case WordLlamaConfig():
            return f"wordllama {_version_of('wordllama')}"
        case SentenceTransformerConfig():
            package = "sentence-transformers"
            return f"{package} {_version_of(package)} with {config.model}"
        case _:
            assert_never(config)


def _embed(config: PretrainedConfig, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    match config:
        case WordLlamaConfig():
            return _embed_by_wordllama(texts)
        case SentenceTransformerConfig():
            return _embed_by_transformer(config, texts)
        case _:
            assert_never(config)


def _embed_by_wordllama(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return the mean vector of each text's word pieces, as `WordLlama.embed` does."""
    tokenizer, vectors = _load_wordllama()
    embeddings = np.zeros((len(texts), vectors.shape[1]), dtype=np.float32)
    for row, text in enumerate(texts):
        # One by one, and each piece once: a batch is padded to its longest text, so that a
        # single one of 1 MB would take gigabytes.
        pieces = tokenizer.encode(text, add_special_tokens=False).ids
        distinct, counts = np.unique(np.asarray(pieces, dtype=np.intp), return_counts=True)
        weights = counts.astype(np.float32) / np.float32(max(len(pieces), 1))
        embeddings[row] = (vectors[distinct] * weights[:, None]).sum(axis=0)
    return embeddings


@lru_cache(maxsize=1)
def _load_wordllama() -> tuple[Tokenizer, npt.NDArray[np.float32]]:
    """Read tokenizer and vectors, (piece, width), out of the package's folder.

    The package itself stays unimported: it sets up logging for the whole process when it is, and
    its `load` looks for the tokenizer in a folder that does not exist, then on the network.
    """
    spec = find_spec("wordllama")
    if spec is None or not spec.submodule_search_locations or find_spec("tokenizers") is None:
        raise _missing("wordllama")
    folder = Path(spec.submodule_search_locations[0])
    lost = [n for n in (_WORDLLAMA_WEIGHTS, _WORDLLAMA_TOKENIZER) if not (folder / n).is_file()]
    if lost:
        raise DataError(
            f"{folder}: no {' and no '.join(lost)} in this version of wordllama. "
            "Install it anew with `pip install 'mmts[wordllama]'`."
        )
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / _WORDLLAMA_TOKENIZER))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    vectors = load_file(folder / _WORDLLAMA_WEIGHTS)["embedding.weight"]
    return tokenizer, vectors.astype(np.float32)


def _embed_by_transformer(
    config: SentenceTransformerConfig, texts: Sequence[str]
) -> npt.NDArray[np.float32]:
    model = _load_transformer(config.model)
    embeddings = model.encode(
        list(texts),
        batch_size=config.batch_size,
        show_progress_bar=False,
        convert_to_numpy=True,
    )
    return np.asarray(embeddings, dtype=np.float32)


@lru_cache(maxsize=1)
def _load_transformer(name: str) -> Any:
    """Load a model that lies on this machine, onto the GPU when there is one."""
    try:
        from sentence_transformers import SentenceTransformer
    except ModuleNotFoundError:
        raise _missing("sentence-transformers") from None
    try:
        # The name may stand in a checkpoint of a stranger: no download, no code, no pickle.
        return SentenceTransformer(
            name,
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"Text model {name!r} cannot be loaded: {reason}\n"
            "  Give the folder of a model with model.safetensors and no code of its own, or the "
            "name of one that `hf download NAME` has fetched; mmts itself downloads nothing."
        ) from None


def _missing(package: str) -> DataError:
    # The extras that bring the packages bear their names.
    return DataError(
        f"Text features need the package {package}, which is not installed. "
        f"Install it with `pip install 'mmts[{package}]'`, or choose kind: tfidf."
    )


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        raise _missing(package) from None


def _cache_key(config: PretrainedConfig, texts: Sequence[str]) -> str:
    """Return a name for these texts embedded by this model, fit for a file."""
    digest = hashlib.sha256()
    for part in _identity(config):
        digest.update(part.encode())
        digest.update(b"\n")
    for text in texts:
        # As JSON, which holds no newline: two texts are never taken for a longer one.
        digest.update(json.dumps(text).encode())
        digest.update(b"\n")
    return f"text-{config.kind}-{digest.hexdigest()}"


def _identity(config: PretrainedConfig) -> Iterator[str]:
    """Yield what decides over an embedding besides the text."""
    yield describe_embedder(config)
    if isinstance(config, SentenceTransformerConfig):
        yield str(config.batch_size)
        folder = Path(config.model)
        if folder.is_dir():
            # Another model may have been put into the same folder since.
            for file in sorted(file for file in folder.rglob("*") if file.is_file()):
                facts = file.stat()
                yield f"{file.relative_to(folder)} {facts.st_size} {facts.st_mtime_ns}"
