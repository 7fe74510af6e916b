"""ROUGE of a summary (Lin, 2004): F-measures by rouge-score, with its stemmer, as lm-eval's cnn_dailymail has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

NAMES = ("rouge1", "rouge2", "rougeL")


def of_highlights(document: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Scores of a CNN/DailyMail summary, each from 0 to 1."""
    return rouge(document["highlights"], results[0])


def of_summary(document: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Scores of an XSum summary, each from 0 to 1."""
    return rouge(document["summary"], results[0])


def rouge(reference: str, summary: str) -> dict[str, float]:
    """ROUGE-1, -2 and -L of two texts in which all white space is one blank."""
    scores = _scorer().score(" ".join(reference.split()), " ".join(summary.split()))
    return {name: float(scores[name].fmeasure) for name in NAMES}


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(NAMES), use_stemmer=True)
