"""Exact one-sided limits for the difference of two paired proportions: the error holds at every n, few flips included.

Tables (broken, mended) are ordered by Tango's approximate limit, and the limit reported is Buehler's: the smallest loss
at which tables at least as favourable have a probability of at most alpha, whatever the rate of mended answers may be.
It is the best limit that respects that order (Buehler, 1957, JASA 52, 482-493), and Tango's score is the order that
Lloyd and Moldovan (2007, Statistics in Medicine 26, 3369-3384) recommend for paired proportions. The limit does not
depend on the tolerance, so that verdicts are monotone in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import betainc, gammaln, xlog1py, xlogy
from scipy.stats import norm

from pytest_qllm.verdict.paired import paired_difference_interval

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_EDGE = 1e-9
# Shares of the possible rates of mended answers at which the worst one is looked for. Squares put most of them where
# few answers are mended: there the probability is least smooth.
_SHARES: tuple[float, ...] = tuple(float(share) ** 2 * (1 - _EDGE) for share in np.linspace(0, 1, 48))
_FAR = 7.0  # standard deviations of a binomial beyond which 1e-11 is left


def tango_score(broken: ArrayLike, mended: ArrayLike, n: ArrayLike, loss: float) -> Floats:
    """Tango's (1998) standardized score for ``broken/n - mended/n`` below ``loss``: large where the loss is smaller.

    Arrays of counts of one shape (or broadcast together); ``loss`` is a difference of proportions within (-1, 1).
    """
    b, m, n = (np.asarray(value, dtype=np.float64) for value in (broken, mended, n))
    linear = (2 * n + b - m) * -loss - b - m
    root = np.sqrt(np.maximum(linear**2 - 8 * n * b * loss * (1 + loss), 0.0))
    # Constrained estimate of P(broken) + P(mended), less the square of the difference: n times the variance.
    variance = np.maximum((root - linear) / (2 * n) - loss * (1 + loss), 1e-300)
    score: Floats = (n * loss + m - b) / np.sqrt(n * variance)
    return score


def passing_counts(n: int, limit: float, alpha: float) -> Counts:
    """For 0, 1, ... n mended items the most broken ones at which Tango's upper limit of the loss is at most ``limit``.

    Shape (n + 1,); -1 where not even 0 broken items are few enough.
    """
    z = float(norm.isf(alpha))
    mended = np.arange(n + 1)
    few: Counts = np.full(n + 1, -1)  # passes, or is -1
    many: Counts = n - mended + 1  # does not pass
    for _ in range(int(n + 1).bit_length() + 1):
        middle = (few + many) // 2
        # A table that lies beyond the limit in its favour passes, one beyond it to its disadvantage does not.
        passes = (tango_score(np.maximum(middle, 0), mended, n, limit) >= z) & (middle >= 0)
        open_ = many - few > 1
        few, many = np.where(open_ & passes, middle, few), np.where(open_ & ~passes, middle, many)
    return few


def worst_probability(most_broken: Counts, n: int, loss: float) -> float:
    """Largest probability of the tables that ``most_broken`` admits, over all rates of mended answers, at that loss."""
    return max(_probabilities(most_broken, n, loss, range(len(_SHARES))))


def _probabilities(most_broken: Counts, n: int, loss: float, places: Sequence[int]) -> list[float]:
    """The same for single rates, by their place in ``_SHARES`` of the possible ones."""
    lowest, highest = max(0.0, -loss), (1 - loss) / 2
    return [probability(most_broken, n, loss, lowest + (highest - lowest) * _SHARES[place]) for place in places]


def probability(most_broken: Counts, n: int, loss: float, mended_rate: float) -> float:
    spread = _FAR * sqrt(n * mended_rate * (1 - mended_rate)) + 10
    first, last = max(0, int(n * mended_rate - spread)), min(n, int(n * mended_rate + spread))
    mended, others = np.arange(first, last + 1), n - np.arange(first, last + 1)
    broken_rate = min(1.0, max(0.0, (mended_rate + loss) / (1 - mended_rate)))
    most = np.minimum(most_broken[mended], others)
    # The plain functions: scipy.stats' argument checks would take ten times as long.
    chances = gammaln(n + 1) - gammaln(mended + 1) - gammaln(others + 1)
    chances = np.exp(chances + xlogy(mended, mended_rate) + xlog1py(others, -mended_rate))
    inner = (most >= 0) & (most < others)
    below = np.where(most < 0, 0.0, 1.0)
    below[inner] = betainc(others[inner] - most[inner], most[inner] + 1.0, 1 - broken_rate)
    return float(chances @ below)


@lru_cache(maxsize=65536)
def upper_loss(broken: int, mended: int, n: int, alpha: float) -> float:
    """Exact upper limit of the loss P(broken) - P(mended), at the one-sided error ``alpha``.

    Raises:
        ValueError: if the counts are negative, do not fit in ``n``, or ``n`` is not positive.
    """
    tango = -paired_difference_interval(broken, mended, n, alpha)[0]
    if tango >= 1 - _EDGE:
        return 1.0
    # A hair above the table's own limit, so that rounding does not drop the table itself.
    tables = passing_counts(n, tango + 1e-9, alpha)

    estimate = (broken - mended) / n
    # Solve for the few rates that turn out to be the worst ones, instead of for all at each step.
    worst: list[int] = []
    loss = tango
    for _ in range(len(_SHARES)):
        found = _probabilities(tables, n, min(max(loss, -1 + _EDGE), 1 - _EDGE), range(len(_SHARES)))
        place = int(np.argmax(found))
        if place in worst or (worst and found[place] <= alpha):
            break
        worst.append(place)
        loss = _solve(tables, n, alpha, tango, max(0.02, (tango - estimate) / 4), worst)
    return loss


def _solve(tables: Counts, n: int, alpha: float, start: float, width: float, places: Sequence[int]) -> float:
    """The loss at which the largest probability over these rates falls to ``alpha``."""

    def excess(loss: float) -> float:
        return max(_probabilities(tables, n, loss, places)) - alpha

    low, high = max(-1 + _EDGE, start - width), min(1 - _EDGE, start + width)
    while excess(low) < 0:
        if low <= -1 + _EDGE:
            return -1.0
        low = max(-1 + _EDGE, low - width)
    while excess(high) > 0:
        if high >= 1 - _EDGE:
            return 1.0
        high = min(1 - _EDGE, high + width)
    return float(brentq(excess, low, high, xtol=1e-7))


def exact_interval(broken: int, mended: int, n: int, alpha: float) -> tuple[float, float]:
    """Bounds of the effect, candidate minus baseline; each errs with a probability of at most ``alpha``.

    Raises:
        ValueError: as ``upper_loss``.
    """
    return -upper_loss(broken, mended, n, alpha), upper_loss(mended, broken, n, alpha)


def exact_p_value(broken: int, mended: int, n: int, loss: float, alpha: float) -> float:
    """p-value of "the true loss is at least ``loss``"; tables are ordered by Tango's limit at ``alpha``."""
    tango = -paired_difference_interval(broken, mended, n, alpha)[0]
    return 1.0 if tango >= 1 - _EDGE else min(1.0, worst_probability(passing_counts(n, tango + 1e-9, alpha), n, loss))


@lru_cache(maxsize=4096)
def critical_limit(n: int, loss: float, alpha: float) -> float:
    """The value that Tango's upper limit may have at most for the exact limit to lie below ``loss``.

    All tables at once, for planning and simulation: ``upper_loss(b, m, n, alpha) < loss`` if and only if
    ``tango_score(b, m, n, critical_limit(n, loss, alpha)) >= z(alpha)``, but for rounding.
    """
    low, high = -1 + _EDGE, 1 - _EDGE
    middle, width = loss, 0.01
    # Tango's limit is nearly exact: look close to the loss first.
    for _ in range(40):
        if worst_probability(passing_counts(n, middle, alpha), n, loss) <= alpha:
            low, middle = middle, min(middle + width, (middle + high) / 2)
        else:
            high, middle = middle, max(middle - width, (low + middle) / 2)
        if high - low < 2 * width:
            middle = (low + high) / 2
        else:
            width *= 2
        if high - low < 1e-7:
            break
    return low
