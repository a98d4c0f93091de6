"""What a byte of a text costs without any model, in bits: three numbers everyone can place a loss against."""

from __future__ import annotations

import gzip
import lzma
import math
from collections import Counter


def unigram_entropy(text: bytes) -> float:
    """Bits per byte of the best code that knows only how often each byte occurs in this very text.

    >>> unigram_entropy(b"abab")
    1.0
    """
    total = len(text)
    return -sum(count / total * math.log2(count / total) for count in Counter(text).values())


def landmarks(text: bytes) -> dict[str, float]:
    """Bits per byte of this text: unigram entropy, `gzip -9` and `xz -9`, their headers included.

    The compressors start knowing nothing of the language, a model has seen the training text; on a few KiB that is a
    large advantage for the model, so the same numbers are given for the whole corpus too.
    """
    return {
        "bytes": len(text),
        "unigram": unigram_entropy(text),
        "gzip": 8 * len(gzip.compress(text, 9, mtime=0)) / len(text),
        "xz": 8 * len(lzma.compress(text, preset=9)) / len(text),
    }
