"""Tango's interval for paired proportions, the design effect of clusters, and what a baseline can carry."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm, t

ALPHA = 0.05
"""One-sided error of each bound: ``low`` and ``high`` together are a 90 % interval."""

Floats = NDArray[np.float64]


def paired_difference_interval(broken: float, mended: float, n: float, alpha: float = ALPHA) -> tuple[float, float]:
    """Score interval for the difference of two paired proportions, candidate minus baseline.

    Tango, T. (1998), Statistics in Medicine 17, 891-908, equation 8 and its constrained maximum-likelihood estimate.
    Its width does not vanish without flips: no flip in ``n`` items gives z^2 / (n + z^2) to either side.

    Args:
        broken: items right in the baseline and wrong in the candidate (may be fractional, see ``design_effect``).
        mended: items wrong in the baseline and right in the candidate.
        n: items in all.
        alpha: one-sided error of each bound.

    Raises:
        ValueError: if the counts are negative, do not fit in ``n``, or ``n`` is not positive.
    """
    if not n > 0 or min(broken, mended) < 0 or broken + mended > n * (1 + 1e-9):
        raise ValueError(f"broken={broken} and mended={mended} are not counts among n={n} items")
    z = float(norm.isf(alpha))
    estimate = (mended - broken) / n

    def score(delta: float) -> float:
        w = -mended - broken + (2 * n - mended + broken) * delta
        q = (sqrt(max(w * w + 8 * n * broken * delta * (1 - delta), 0.0)) - w) / (4 * n)
        variance = n * max(2 * q + delta * (1 - delta), 1e-300)
        return (mended - broken - n * delta) / sqrt(variance)

    edge = 1e-12
    low = -1.0
    if estimate > -1 + edge and score(-1 + edge) > z:
        low = brentq(lambda delta: score(delta) - z, -1 + edge, min(estimate, 1 - edge), xtol=1e-12)
    high = 1.0
    if estimate < 1 - edge and score(1 - edge) < -z:
        high = brentq(lambda delta: score(delta) + z, max(estimate, -1 + edge), 1 - edge, xtol=1e-12)
    return float(low), float(high)


def design_effect(differences: Floats, clusters: Sequence[str] | None, alpha: float = ALPHA) -> float:
    """How many times larger the variance of the mean is than for independent items, at least 1.

    The cluster-robust variance (Liang and Zeger, 1986) over the naive one; Miller (arXiv 2411.00640) section 2.2
    advises it for benchmarks whose items come in groups. It is widened by (t / z)^2, Student's t over the clusters, for
    a variance that few clusters estimate badly. Where no answer differs there is no correlation to estimate, and only
    the widening is left.

    Args:
        differences: one per item, shape (n,).
        clusters: the cluster of each item, or None where items are independent.
        alpha: one-sided error of the bound that is to be widened.
    """
    n = len(differences)
    if clusters is None or len(set(clusters)) == n:
        return 1.0
    groups: dict[str, float] = {}
    centred = differences - differences.mean()
    for cluster, value in zip(clusters, centred, strict=True):
        groups[cluster] = groups.get(cluster, 0.0) + float(value)
    if len(groups) < 2:
        return float(n)
    naive = float(centred @ centred)
    robust = len(groups) / (len(groups) - 1) * sum(total * total for total in groups.values())
    widening = float(t.isf(alpha, len(groups) - 1) / norm.isf(alpha)) ** 2
    return widening * (max(1.0, robust / naive) if naive > 0 else 1.0)


def detects_random(
    baseline: float, chance: float, tolerance: float, n: float, power: float = 0.8, alpha: float = ALPHA
) -> bool:
    """Whether ``n`` items would prove the loss of a model that answers at random.

    The assay sensitivity of ICH E10 for non-inferiority trials: a test that could not tell a destroyed model says
    nothing when it passes. Normal approximation; answers at random are independent of the baseline's.

    Args:
        baseline: proportion of right answers of the baseline.
        chance: proportion expected of answers at random.
        tolerance: largest allowed loss, as a difference of proportions.
        n: number of (effectively independent) items.
        power: probability with which the loss must be proven.
        alpha: one-sided error of that proof.
    """
    error = sqrt((baseline * (1 - baseline) + chance * (1 - chance)) / n)
    margin = baseline - chance - tolerance
    return margin > 0 and margin >= (float(norm.isf(alpha)) + float(norm.ppf(power))) * error


def detects_nothing(baseline: float, tolerance: float, error: float, alpha: float = ALPHA, power: float = 0.8) -> bool:
    """Whether the loss of a model that scores 0 would be proven, where the baseline's score has that standard error."""
    margin = baseline - tolerance
    return margin > 0 and margin >= (float(norm.isf(alpha)) + float(norm.ppf(power))) * error
