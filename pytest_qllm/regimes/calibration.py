"""Rows of tokens to calibrate with, cut from texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_qllm.errors import QllmError


def token_rows(tokenizer: Any, texts: Sequence[str], rows: int, tokens: int, seed: int) -> list[list[int]]:
    """``rows`` rows of ``tokens`` tokens each: the texts in a random order, one after another.

    Raises:
        QllmError: if the texts are too short for that.
    """
    import numpy as np

    from pytest_qllm.quiet import quiet

    order = np.random.default_rng(seed).permutation(len(texts))
    stream: list[int] = []
    with quiet():  # a text may be longer than the model can read at once; a row is not
        for at in order:
            stream += tokenizer.encode(texts[at] + "\n\n")
            if len(stream) >= rows * tokens:
                break
    if len(stream) < rows * tokens:
        raise QllmError(f"the calibration corpus has {len(stream)} tokens; {rows} rows of {tokens} are needed")
    return [stream[at * tokens : (at + 1) * tokens] for at in range(rows)]
