"""Ratios of two paired means, for tolerances such as "keep 99 % of the baseline": the baseline is uncertain as well."""

from __future__ import annotations

from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from pytest_qllm.verdict.means import Units

Floats = NDArray[np.float64]


def fieller_interval(
    numerator: float,
    denominator: float,
    numerator_variance: float,
    denominator_variance: float,
    covariance: float,
    quantile: float,
) -> tuple[float, float]:
    """Fieller's limits of numerator / denominator, for estimates that are jointly normal.

    Fieller (1954, JRSS B 16, 175-185): all ratios r for which ``numerator - r * denominator`` lies within ``quantile``
    of its standard errors from 0. Where the denominator is not itself proven positive, no ratio can be excluded and the
    limits are infinite.
    """
    a = denominator**2 - quantile**2 * denominator_variance
    b = numerator * denominator - quantile**2 * covariance
    c = numerator**2 - quantile**2 * numerator_variance
    if a <= 0 or denominator <= 0:
        return -inf, inf
    root = sqrt(max(b * b - a * c, 0.0))
    return (b - root) / a, (b + root) / a


def mean_ratio_interval(baseline: Units, candidate: Units, alpha: float) -> tuple[float, float]:
    """Fieller's limits of the candidate's mean over the baseline's; jackknife (co)variances over units.

    Raises:
        ValueError: for fewer than two units.
    """
    count, total = len(baseline), float(baseline.sizes.sum())
    if count < 2:
        raise ValueError(f"{count} unit gives no interval; at least 2 are needed")
    leverage = 1 - baseline.sizes / total
    base = (baseline.sums - baseline.effect * baseline.sizes) / leverage
    cand = (candidate.sums - candidate.effect * candidate.sizes) / leverage
    scale = (count - 1) / count / total**2
    freedom = max(1.0, total**2 / float((baseline.sizes**2).sum()) - 1)
    return fieller_interval(
        candidate.effect,
        baseline.effect,
        scale * float(cand @ cand),
        scale * float(base @ base),
        scale * float(cand @ base),
        float(t.isf(alpha, freedom)),
    )


def relative_interval(
    difference: tuple[float, float, float], baseline: tuple[float, float, float]
) -> tuple[float, float]:
    """Limits of (candidate - baseline) / baseline from those of the difference and of the baseline's score.

    The method of variance estimates recovery (Zou and Donner, 2008, Statistics in Medicine 27, 1693-1702): Fieller's
    argument with limits that need not be symmetric, so that the exact ones can be used. A broken answer is one that the
    baseline has right: difference and baseline correlate negatively, and leaving that out widens the limits.

    Args:
        difference: estimate, lower and upper limit of candidate - baseline.
        baseline: the same of the baseline's score.
    """
    d, d_low, d_high = difference
    p, p_low, p_high = baseline
    return -_largest_loss(d, p, d - d_low, p - p_low, 1), -_largest_loss(d, p, d_high - d, p_high - p, -1)


def _largest_loss(d: float, p: float, d_margin: float, p_margin: float, sign: int) -> float:
    # The r at which d + r p lies `sign` times its margin, the root of d_margin^2 + r^2 p_margin^2, from 0.
    a = p * p - p_margin * p_margin
    if a <= 0:
        return sign * inf
    root = sqrt(max((d * p) ** 2 - a * (d * d - d_margin * d_margin), 0.0))
    return (-d * p + sign * root) / a


def wilson_interval(right: int, n: int, alpha: float) -> tuple[float, float]:
    """Wilson's (1927) score limits of a proportion, each with the one-sided error ``alpha``."""
    z = float(norm.isf(alpha))
    middle, margin = right + z * z / 2, z * sqrt(right * (n - right) / n + z * z / 4)
    return (middle - margin) / (n + z * z), (middle + margin) / (n + z * z)
