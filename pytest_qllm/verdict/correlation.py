"""Whether a perplexity tells what a benchmark loses: correlation over regimes, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import atanh, sqrt, tanh

import numpy as np
from scipy import stats

LEAST = 4
"""Points that Fisher's transformation needs: its variance is over n - 3."""

_LEVEL = 0.95
_EXACT = 1e-12


@dataclass(frozen=True)
class Correlation:
    """A coefficient with its two-sided interval of 95 %."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Correlations:
    """Of n points: Pearson's (straightness) and Spearman's (order); with ``reason`` where there is none."""

    n: int
    pearson: Correlation | None = None
    spearman: Correlation | None = None
    reason: str = ""


def correlate(x: Sequence[float], y: Sequence[float]) -> Correlations:
    """Both coefficients.

    Pearson's interval is Fisher's; Spearman's has the variance of Bonett and Wright (Psychometrika 65, 2000):
    (1 + r^2/2) / (n - 3) of the transformed coefficient.

    Args:
        x, y: shape (n,), finite.
    """
    n = len(x)
    if n < LEAST:
        return Correlations(n, reason=f"{n} regime{'s' * (n != 1)}; an interval needs {LEAST}")
    if len(set(x)) == 1 or len(set(y)) == 1:
        return Correlations(n, reason=f"all {n} regimes have the same value on one side")
    pearson = stats.pearsonr(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
    straight = float(pearson.statistic)
    limits = pearson.confidence_interval(_LEVEL)
    # On an exact line the transformation has no value, and the interval no width: that would be false certainty.
    exact = abs(straight) > 1 - _EXACT
    return Correlations(
        n,
        None if exact else Correlation(straight, float(limits.low), float(limits.high)),
        _spearman(float(stats.spearmanr(x, y).statistic), n),
    )


def _spearman(value: float, n: int) -> Correlation:
    swapped = 1 - 12 / (n * (n * n - 1))  # of an order in which two neighbours have changed places
    inner = max(-swapped, min(swapped, value))  # at 1 itself the transformation has no value
    half = float(stats.norm.ppf(0.5 + _LEVEL / 2)) * sqrt((1 + inner * inner / 2) / (n - 3))
    low, high = tanh(atanh(inner) - half), tanh(atanh(inner) + half)
    return Correlation(value, min(low, value), max(high, value))
