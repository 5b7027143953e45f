"""The encoder of sentences that lies next to an exported model that aligns: words -> vectors, in ONNX Runtime."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from lstn.alignment.word_regions import Vectors
from lstn.contract import SPACE, STEPS
from lstn.data.texts.caption_words import UNKNOWN, words_of
from lstn.errors import ArtifactError, UsageError
from lstn.formats.engine_origin import origin_of
from lstn.formats.onnx_file import read_model
from lstn.formats.onnx_session import OnnxSession
from lstn.formats.plan_file import Tensor
from lstn.report.wording import counted

WORDS, VECTORS = "words", "vectors"
"""Names of its input, (L,) int64, and of its output, (L, SPACE) float32."""

EncodeWords: TypeAlias = Callable[[npt.NDArray[np.int64]], Vectors]
"""The numbers of a sentence's words (L,), L at least 1 -> a vector of each (L, SPACE)."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedSentence:
    """A sentence to look for. words: as the model knows them; vectors: (L, SPACE) float32, of these"""

    words: tuple[str, ...]
    vectors: Vectors


def encoder_path(model: Path) -> Path:
    """Return where the encoder of a model is: next to it, as model.words."""
    return model.with_suffix(".words")


def encoder_of(engine: Path) -> Path:
    """Return where the encoder of an engine is.

    Raises:
        ArtifactError: there is none.
    """
    path = encoder_path(engine)
    if not path.is_file():
        raise ArtifactError(f"{path}: there is no such file, which knows the words", hint="make both with: lstn export")
    return path


@contextmanager
def sentence_encoder(engine: Path) -> Iterator[EncodeWords]:
    """Open the encoder of sentences of an engine, whatever kind of engine it is.

    Raises:
        ArtifactError: there is none, it can't be read, or it was exported with another model.
        MissingExtra: ONNX Runtime isn't installed.
    """
    path = encoder_of(engine)
    known, file = read_model(path)
    inputs, outputs = (Tensor(WORDS, "int64", (-1,)),), (Tensor(VECTORS, "float32", (-1, SPACE)),)
    if (file.inputs, file.outputs) != (inputs, outputs):
        raise ArtifactError(f"{path}: this file doesn't turn words into vectors", hint="make it with: lstn export")
    if (known, file.partner) != origin_of(engine):
        raise ArtifactError(f"{path}: it was exported with another model than {engine}", hint="export both again")
    session = OnnxSession(path, str(path), spin=False)
    try:
        yield lambda words: session.run({WORDS: words}, [VECTORS])[0]
    finally:
        session.close()


def encoded(sentence: str, labels: Sequence[str], encode: EncodeWords) -> EncodedSentence:
    """Return a sentence that somebody typed, as a model knows its words.

    Raises:
        UsageError: it has no words, too many, or one that the model doesn't have.
    """
    words = words_of(sentence)
    if not 0 < len(words) <= STEPS[1]:
        raise UsageError(
            f"--sentence {sentence[:40]!r}: {counted(len(words), 'word')}", hint=f"give 1 to {STEPS[1]} words"
        )
    numbers = {word: number for number, word in enumerate(labels)}
    strange = next((word for word in words if word not in numbers), None)
    if strange is not None and UNKNOWN not in numbers:
        known = ", ".join(labels[:20]) + (", …" if len(labels) > 20 else "")
        raise UsageError(
            f"--sentence: {strange!r:.60} is none of the model's {counted(len(labels), 'word')}", hint=f"use: {known}"
        )
    kept = tuple(word if word in numbers else UNKNOWN for word in words)
    return EncodedSentence(kept, encode(np.array([numbers[word] for word in kept], np.int64)))
