"""Calibration texts as rows of tokens, all of one length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_qllm.errors import QllmError


def token_rows(tokenizer: Any, texts: Sequence[str], rows: int, tokens: int, seed: int) -> list[list[int]]:
    """Texts in an order drawn with ``seed``, end to end, cut into ``rows`` of ``tokens`` each.

    Raises:
        QllmError: if the texts have fewer tokens.
    """
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(texts))
    stream: list[int] = []
    for at in order:
        stream += tokenizer.encode(texts[at] + "\n\n")
        if len(stream) >= rows * tokens:
            break
    if len(stream) < rows * tokens:
        raise QllmError(f"the calibration corpus has {len(stream)} tokens; {rows} rows of {tokens} are needed")
    return [stream[at * tokens : (at + 1) * tokens] for at in range(rows)]
