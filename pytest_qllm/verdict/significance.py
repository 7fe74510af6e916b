"""Whether a difference is there at all: two-sided paired tests, by kind of metric, for the marks of a table.

A mark is no verdict. It asks for any difference, so that many items mark a loss of a tenth of a point, and it knows no
tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from pytest_qllm.verdict.compare import compare, summed
from pytest_qllm.verdict.corpus import CorpusMetric
from pytest_qllm.verdict.kinds import Kind, Scale
from pytest_qllm.verdict.sample import Sample, check_pair

Floats = NDArray[np.float64]

LEVEL = 0.05
"""Two-sided: a mark below it, and intervals of 95 %."""

SHUFFLES = 9999
_BATCH_NUMBERS = 20_000_000


@dataclass(frozen=True)
class Difference:
    """Candidate against baseline on the same items.

    Attributes:
        effect: candidate minus baseline, or their ratio; ``low`` and ``high`` are its two-sided limits of 95 %.
        p: two-sided p-value of "no difference"; None where there is too little to judge by (``reason``).
        test: the test, for people.
    """

    effect: float
    low: float
    high: float
    p: float | None
    n: int
    test: str
    reason: str = ""


def difference(
    kind: Kind,
    baseline: Sample,
    candidate: Sample,
    metric: CorpusMetric | None = None,
    generator: np.random.Generator | None = None,
) -> Difference:
    """The difference with its interval and its two-sided test.

    Right and wrong answers: McNemar's exact test of the flips (McNemar, 1947). A corpus metric: approximate
    randomization, which swaps the two models' answers item by item, or cluster by cluster (Noreen, 1989; Riezler and
    Maxwell, 2005, for BLEU); of a bias score it is the distance from 0 that is compared. Everything else, and right and
    wrong answers in clusters: twice the smaller one-sided p-value of the kind's own tool.

    Args:
        generator: of a corpus metric's resamples; no other kind has a random choice.

    Raises:
        QllmError: as ``sample.check_pair``.
        ValueError: for a corpus metric without function or generator.
    """
    check_pair(baseline, candidate, kind)
    none = 1.0 if kind.scale is Scale.RATIO else 0.0
    found = compare(kind, baseline, candidate, none, LEVEL / 2, metric=metric, generator=generator)
    n = len(baseline.ids)
    limits = (found.effect, found.low, found.high)
    if kind is Kind.ACCURACY and baseline.clusters is None and found.broken is not None and found.mended is not None:
        return Difference(*limits, mcnemar_two_sided(found.broken, found.mended), n, "McNemar, exact")
    test = f"approximate randomization, {SHUFFLES} shuffles" if kind.of_corpus else found.method
    if np.array_equal(baseline.scores, candidate.scores) and (not kind.of_corpus or _same_parts(baseline, candidate)):
        return Difference(*limits, 1.0, n, test)
    if found.units < kind.minimum:
        return Difference(*limits, None, n, test, f"fewer than {kind.minimum} {kind.units}")
    if found.degenerate:
        return Difference(*limits, None, n, test, found.degenerate)
    if kind.of_corpus:
        assert metric is not None
        assert generator is not None
        compared = _distance(metric) if kind is Kind.BIAS else metric
        return Difference(*limits, randomized(_units(baseline), _units(candidate), compared, generator), n, test)
    assert found.p_pass is not None
    assert found.p_fail is not None
    return Difference(*limits, min(1.0, 2 * min(found.p_pass, found.p_fail)), n, test)


def mcnemar_two_sided(broken: int, mended: int) -> float:
    """McNemar's exact test, two-sided: twice the smaller tail of a fair coin's throws, at most 1."""
    return min(1.0, 2 * float(binom.cdf(min(broken, mended), broken + mended, 0.5)))


def randomized(
    baseline: Floats, candidate: Floats, metric: CorpusMetric, generator: np.random.Generator, shuffles: int = SHUFFLES
) -> float:
    """p-value of "the models are alike": how often a difference as large comes of swapped answers.

    Args:
        baseline, candidate: statistics of each item or cluster, shape (items, statistics).
        metric: from those to the metric, shape (..., items, statistics) to (...).
    """
    seen = abs(float(metric(candidate) - metric(baseline)))
    n, width = baseline.shape
    batch = max(1, _BATCH_NUMBERS // (n * width))
    as_large = 0
    for start in range(0, shuffles, batch):
        swap = generator.random((min(batch, shuffles - start), n, 1)) < 0.5
        one, other = np.where(swap, candidate, baseline), np.where(swap, baseline, candidate)
        as_large += int((np.abs(metric(other) - metric(one)) >= seen - 1e-12).sum())
    return (1 + as_large) / (1 + shuffles)


def _distance(metric: CorpusMetric) -> CorpusMetric:
    return lambda parts: np.abs(metric(parts))


def _units(sample: Sample) -> Floats:
    assert sample.parts is not None
    return sample.parts if sample.clusters is None else summed(sample.parts, sample.clusters)


def _same_parts(baseline: Sample, candidate: Sample) -> bool:
    return (
        baseline.parts is not None and candidate.parts is not None and np.array_equal(baseline.parts, candidate.parts)
    )
