"""Metrics of a whole corpus: what each item adds to them, and the score of any set of items.

BLEU and chrF are sacrebleu's; the bias scores are in ``bias``.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from pytest_qllm.benchmarks.bias import BIAS_METRICS, bias_score

if TYPE_CHECKING:
    from pytest_qllm.verdict.corpus import CorpusMetric, Floats

CORPUS_METRICS = ("bleu", "chrf", "chrf++")
"""As lm-eval names them; it calls sacrebleu with these settings too."""
BLEUS = (*CORPUS_METRICS, "bleu_zh")
"""And ``bleu_zh`` of our own tasks, with sacrebleu's tokenizer for Chinese."""


@cache
def _scorer(metric: str) -> Any:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    if metric in ("bleu", "bleu_zh"):
        return BLEU(tokenize="zh" if metric == "bleu_zh" else None)
    return CHRF(word_order=2 if metric == "chrf++" else 0)


def statistics(metric: str, given: Any) -> list[float] | None:
    """Counts of one item (lengths, n-grams, matches), which sum to those of the corpus.

    They are what sacrebleu's own significance tests resample.

    Args:
        metric: one of ``BLEUS``.
        given: what the task hands over to be aggregated: reference, or several of them, and prediction.

    Returns:
        None where ``given`` is no such pair: a score that the task made itself.
    """
    if not isinstance(given, list | tuple) or len(given) != 2:
        return None
    references, prediction = ([one] if isinstance(one, str) else one for one in given)
    found = _scorer(metric)._extract_corpus_statistics(prediction, [[one] for one in references])
    return [float(value) for value in found[0]]


def corpus_metric(metric: str) -> CorpusMetric:
    """The metric of a corpus from the statistics of its items, as a share of 1 (sacrebleu's 100)."""
    if metric in BIAS_METRICS:
        return bias_score(metric)
    import numpy as np

    scorer = _scorer(metric)

    def score(parts: Floats) -> Floats:
        sums = parts.sum(-2)
        rows = sums.reshape(-1, sums.shape[-1]).astype(np.int64).tolist()
        scores = [scorer._compute_score_from_stats(row).score / 100 for row in rows]
        return np.array(scores, dtype=np.float64).reshape(sums.shape[:-1])

    return score
