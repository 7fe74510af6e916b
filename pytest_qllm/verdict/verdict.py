"""The verdict: is the loss proven smaller than the tolerance, proven larger, or neither?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import exp

import numpy as np

from pytest_qllm.errors import QllmError
from pytest_qllm.verdict.paired import (
    ALPHA,
    Floats,
    design_effect,
    detects_random,
    paired_difference_interval,
    perplexity_ratio_interval,
)

MIN_DOCUMENTS = 8
"""Fewer texts give a variance that no verdict on a perplexity should rest on."""


MIN_CLUSTERS = 20
"""With fewer clusters the robust variance is too low (in simulation 22 % of wrong PASS with 5, 7 % with 20)."""


class Outcome(StrEnum):
    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    NO_SIGNAL = "NO_SIGNAL"


class Scale(StrEnum):
    """How an effect is expressed: candidate minus baseline, or candidate over baseline."""

    DIFFERENCE = "difference"
    RATIO = "ratio"


@dataclass(frozen=True)
class Sample:
    """Per-item scores of one measurement, as the statistics need them.

    Attributes:
        ids: content hash of each item, in order.
        scores: shape (n,): 1.0 or 0.0 for right or wrong; log-likelihood in nats for a perplexity.
        weights: shape (n,): 1.0 for answers; scored tokens for a perplexity.
        chance: shape (n,): score expected of a random answer; not used for a perplexity.
        clusters: cluster of each item, or None where items are independent.
    """

    ids: tuple[str, ...]
    scores: Floats
    weights: Floats
    chance: Floats
    clusters: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Evidence:
    """The paired comparison that a verdict rests on; proportions and ratios, not percent.

    ``alphas`` are the one-sided errors of ``low`` and ``high``.
    """

    scale: Scale
    baseline: float
    candidate: float
    effect: float
    low: float
    high: float
    n: int
    broken: int | None
    mended: int | None
    interval: str
    alphas: tuple[float, float] = (ALPHA, ALPHA)


@dataclass(frozen=True)
class Verdict:
    outcome: Outcome
    tolerance: float
    evidence: Evidence | None
    reason: str = ""


def mean_score(sample: Sample, scale: Scale) -> float:
    """The benchmark's figure for one measurement: accuracy, or perplexity per token."""
    if scale is Scale.RATIO:
        return exp(min(-float(sample.scores.sum() / sample.weights.sum()), 700.0))
    return float(sample.scores.mean())


def lacks_signal(baseline: Sample, scale: Scale, tolerance: float) -> str | None:
    """Why the baseline's scores cannot carry a verdict at this tolerance, or None where they can."""
    check(baseline, scale)
    if scale is Scale.RATIO:
        return None
    n, accuracy, chance = len(baseline.ids), mean_score(baseline, scale), float(baseline.chance.mean())
    effective = n / design_effect(baseline.scores, baseline.clusters)
    if detects_random(accuracy, chance, tolerance, effective):
        return None
    return (
        f"the baseline answers {accuracy:.1%} of {n} items, chance is {chance:.1%}: too close for these items to tell "
        f"a model that answers at random from one within the tolerance of {100 * tolerance:.1f} points"
    )


def judge(
    baseline: Sample,
    candidate: Sample,
    scale: Scale,
    tolerance: float,
    *,
    may_pass: bool = True,
    fail_alpha: float = ALPHA,
) -> Verdict:
    """Non-inferiority of the candidate, one-sided, three-way and fail closed.

    NO_SIGNAL depends on the baseline alone, so that no candidate's scores decide whether they count.

    Args:
        baseline: scores of the baseline.
        candidate: scores of the candidate on the same items.
        scale: kind of the effect.
        tolerance: largest allowed loss, as a difference of proportions or a ratio of perplexities.
        may_pass: whether this is the last look, at which the bound at ``ALPHA`` within the tolerance is a PASS.
        fail_alpha: error of the bound that must lie beyond the tolerance for a FAIL.

    Raises:
        QllmError: if there are no items, the item sets differ, or a score is not a finite number.
    """
    check(baseline, scale)
    check(candidate, scale)
    if baseline.ids != candidate.ids:
        raise QllmError(
            f"baseline and candidate were not measured on the same items ({len(baseline.ids)} and "
            f"{len(candidate.ids)}, {len(set(baseline.ids) & set(candidate.ids))} in common); measure both again"
        )
    if scale is Scale.RATIO and not np.array_equal(baseline.weights, candidate.weights):
        raise QllmError(
            "baseline and candidate scored different numbers of tokens of the same texts; measure both again"
        )
    reason = lacks_signal(baseline, scale, tolerance)
    if reason is not None:
        return Verdict(Outcome.NO_SIGNAL, tolerance, None, reason)
    if scale is Scale.RATIO:
        evidence = _compare_perplexity(baseline, candidate, fail_alpha)
        if evidence.n < MIN_DOCUMENTS:
            return Verdict(Outcome.INCONCLUSIVE, tolerance, evidence, f"fewer than {MIN_DOCUMENTS} documents")
        passed, failed = evidence.high < tolerance, evidence.low > tolerance
    else:
        evidence = _compare_accuracy(baseline, candidate, fail_alpha)
        if baseline.clusters is not None and len(set(baseline.clusters)) < MIN_CLUSTERS:
            return Verdict(Outcome.INCONCLUSIVE, tolerance, evidence, f"fewer than {MIN_CLUSTERS} clusters of items")
        passed, failed = evidence.low > -tolerance, evidence.high < -tolerance
    if failed:
        return Verdict(Outcome.FAIL, tolerance, evidence)
    return Verdict(Outcome.PASS if passed and may_pass else Outcome.INCONCLUSIVE, tolerance, evidence)


def _compare_accuracy(baseline: Sample, candidate: Sample, fail_alpha: float) -> Evidence:
    differences = candidate.scores - baseline.scores
    n, broken, mended = len(differences), int((differences < 0).sum()), int((differences > 0).sum())

    def bounds(alpha: float) -> tuple[float, float]:
        effect = design_effect(differences, baseline.clusters, alpha)
        return paired_difference_interval(broken / effect, mended / effect, n / effect, alpha)

    return Evidence(
        Scale.DIFFERENCE,
        mean_score(baseline, Scale.DIFFERENCE),
        mean_score(candidate, Scale.DIFFERENCE),
        (mended - broken) / n,
        bounds(ALPHA)[0],
        bounds(fail_alpha)[1],
        n,
        broken,
        mended,
        "Tango score" if baseline.clusters is None else "Tango score, cluster-robust",
        (ALPHA, fail_alpha),
    )


def _compare_perplexity(baseline: Sample, candidate: Sample, fail_alpha: float) -> Evidence:
    n = len(baseline.ids)
    ratio, low, high = 1.0, 0.0, float("inf")
    if n >= 2:
        ratio, low, _ = perplexity_ratio_interval(baseline.scores, candidate.scores, baseline.weights, fail_alpha)
        _, _, high = perplexity_ratio_interval(baseline.scores, candidate.scores, baseline.weights, ALPHA)
    return Evidence(
        Scale.RATIO,
        mean_score(baseline, Scale.RATIO),
        mean_score(candidate, Scale.RATIO),
        ratio,
        low,
        high,
        n,
        None,
        None,
        "ratio estimator over documents, Student's t",
        (fail_alpha, ALPHA),
    )


def check(sample: Sample, scale: Scale) -> None:
    """Refuse scores that no verdict can rest on.

    Raises:
        QllmError: if there are no items, one is there twice, or a score is not a number that its scale admits.
    """
    n = len(sample.ids)
    if n == 0:
        raise QllmError("there are no items to compare: a benchmark without items cannot pass")
    clusters = (sample.clusters,) if sample.clusters is not None else ()
    _require_lengths(n, sample.scores, sample.weights, sample.chance, *clusters)
    if len(set(sample.ids)) != n:
        raise QllmError(f"{n - len(set(sample.ids))} of {n} items are there twice; each may count once")
    if not np.isfinite(sample.scores).all():
        bad = int((~np.isfinite(sample.scores)).sum())
        raise QllmError(f"{bad} of {n} scores are not finite numbers (NaN or infinite): the model is broken")
    if scale is Scale.DIFFERENCE and not np.isin(sample.scores, (0.0, 1.0)).all():
        raise QllmError("an accuracy needs scores of 0 or 1 for each item; this metric gives others")
    if scale is Scale.RATIO and not (sample.weights > 0).all():
        raise QllmError("a perplexity needs at least one scored token in every document")


def _require_lengths(n: int, *arrays: Sequence[object] | Floats) -> None:
    if any(len(array) != n for array in arrays):
        raise QllmError(f"scores for {[len(array) for array in arrays]} items where {n} were asked for")
