"""Words of captions: how a sentence becomes words, and the vocabulary of the words that are frequent enough."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

UNKNOWN = "<unknown>"
"""The word that stands for each that is too rare to be learnt."""

LEAST_COUNT = 5
"""How often training captions have to have a word, as of Karpathy and Fei-Fei (2015, section 4)."""

_WORD = re.compile(r"\w+(?:['-]\w+)*")
_APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"


def words_of(caption: str) -> tuple[str, ...]:
    """Return the words of a caption in lower case (Unicode form NFC), without punctuation."""
    plain = unicodedata.normalize("NFC", caption).lower().replace(_APOSTROPHE, "'")
    return tuple(_WORD.findall(plain))


def vocabulary(captions: Iterable[Sequence[str]], *, least: int = LEAST_COUNT) -> tuple[str, ...]:
    """Return the words that are there at least `least` times, sorted, and last the unknown word."""
    counts = Counter(word for words in captions for word in words)
    return (*sorted(word for word, count in counts.items() if count >= least), UNKNOWN)
