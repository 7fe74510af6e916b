"""Metrics of a whole corpus (BLEU, chrF, calibration error): a paired bootstrap, as they are no mean over items."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import DegenerateDataWarning, bootstrap

Floats = NDArray[np.float64]
CorpusMetric = Callable[[Floats], Floats]
"""From item statistics, shape (..., items, statistics), to the metric of each corpus, shape (...)."""

RESAMPLES = 9999
_BATCH_NUMBERS = 20_000_000  # how many numbers a batch of resamples may hold at once: 160 MB


def corpus_interval(
    baseline: Floats,
    candidate: Floats,
    metric: CorpusMetric,
    alpha: float,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
    *,
    relative: bool = False,
    summed: bool = False,
) -> tuple[float, float, float, float]:
    """Difference of a corpus metric, candidate minus baseline, with BCa limits (Efron, 1987, JASA 82, 171-185).

    Items are drawn in pairs, so that both models are always judged on the same corpus.

    Args:
        baseline: statistics of each item, such as n-gram counts, shape (items, statistics).
        candidate: the same of the candidate.
        metric: from those to the metric.
        alpha: one-sided error of each limit.
        generator: where the resamples come from.
        resamples: of the bootstrap; a limit needs at least 10 / alpha for its tail to be seen.
        relative: the difference as a share of the baseline's score, on each resample of its own.
        summed: the sum of both scores instead.

    Returns:
        difference, low, high, and the bootstrap's standard error. Where no resample differs from the others the limits
        are infinite: a spread that was not seen proves nothing.

    Raises:
        ValueError: for shapes that do not fit.
    """
    if baseline.shape != candidate.shape or baseline.ndim != 2 or len(baseline) < 2:
        raise ValueError(f"item statistics of shapes {baseline.shape} and {candidate.shape}; two or more pairs needed")
    n, width = baseline.shape

    def difference(index: NDArray[np.int64], axis: int = -1) -> Floats:
        index = np.moveaxis(index, axis, -1)
        before, after = metric(baseline[index]), metric(candidate[index])
        if summed:
            return after + before
        return after / before - 1 if relative else after - before

    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # said below, by infinite limits
        result = bootstrap(
            (np.arange(n),),
            difference,
            n_resamples=max(resamples, int(np.ceil(10 / alpha))),
            batch=max(1, _BATCH_NUMBERS // (n * width)),
            confidence_level=1 - 2 * alpha,
            method="BCa",
            vectorized=True,
            random_state=generator,  # the name that every scipy since 1.13 knows
        )
        estimate = float(difference(np.arange(n)))
    low, high = (float(value) for value in result.confidence_interval)
    if not np.isfinite([low, high]).all() or not low < high:
        return estimate, -np.inf, np.inf, float(result.standard_error)
    return estimate, low, high, float(result.standard_error)


def bias_interval(
    baseline: Floats,
    candidate: Floats,
    metric: CorpusMetric,
    alpha: float,
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
) -> tuple[float, float, float, float]:
    """How much nearer to 0 the candidate's score lies, |baseline| - |candidate|, of a metric that is best there.

    Resampled distances from 0 are folded where a score is near it: their limits pass a loss of exactly the tolerance in
    a quarter of runs. So the limits are made of those of the difference d = candidate - baseline and of the sum s of
    both: the distance grows by max(d, -s) where the baseline's score is positive, by max(-d, s) where it is negative,
    and by the smaller of the two whatever its sign. Each of the limits has the error ``alpha / 2``, since the smaller
    of two bounds errs where either does.

    Args and returns: as ``corpus_interval``; the standard error is that of the difference.
    """
    before, after = float(metric(baseline)), float(metric(candidate))
    _, low_d, high_d, error = corpus_interval(baseline, candidate, metric, alpha / 2, generator, resamples)
    _, low_s, high_s, _ = corpus_interval(baseline, candidate, metric, alpha / 2, generator, resamples, summed=True)
    most = min(max(high_d, -low_s), max(-low_d, high_s))
    least = min(max(low_d, -high_s), max(-high_d, low_s))
    return abs(before) - abs(after), -most, -least, error
