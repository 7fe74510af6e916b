"""The error of many tests at once: adjusted p-values, tests of any loss at all, and tests pooled over benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.stats import binom


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979, Scandinavian Journal of Statistics 6, 65-70) step-down adjusted p-values, in the given order.

    All tests whose adjusted p-value is at most alpha may be claimed together, with an error of at most alpha that any
    of these claims is wrong, however the tests depend on each other.

    Raises:
        ValueError: for a p-value outside [0, 1].
    """
    values = np.asarray(p_values, dtype=np.float64)
    if values.size and not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"p-values must lie in [0, 1]: {list(p_values)}")
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]


def all_pass_p_value(p_values: Sequence[float]) -> float:
    """p-value of "every test passes", an intersection-union test (Berger, 1982, Technometrics 24, 295-300).

    The largest one: a release that needs all tests to pass needs no correction for their number.

    Raises:
        ValueError: if there are none.
    """
    if not p_values:
        raise ValueError("without tests nothing has passed")
    return max(p_values)


def mcnemar_p_value(broken: int, mended: int) -> float:
    """Exact one-sided McNemar test of "no loss": are there more broken answers than mended ones?

    Conditional on the flips, ``broken`` is binomial with 1/2 (McNemar, 1947; Kuebler et al., arXiv 2602.10144, for
    compressed language models, pooled by adding the counts of several benchmarks). It tests a loss of more than zero,
    not of more than a tolerance.

    Raises:
        ValueError: for negative counts.
    """
    if min(broken, mended) < 0:
        raise ValueError(f"broken={broken} and mended={mended} are not counts")
    return float(binom.sf(broken - 1, broken + mended, 0.5))


@dataclass(frozen=True)
class Stratum:
    """One benchmark of a pooled test: its effect with one-sided limits, and its weight."""

    effect: float
    low: float
    high: float
    weight: float = 1.0


@dataclass(frozen=True)
class Pooled:
    effect: float
    low: float
    high: float


def pool(strata: Sequence[Stratum]) -> Pooled:
    """Weighted mean effect over independent benchmarks, with limits at the error of the single ones.

    The limits come from those of the strata (variance estimates recovery: Zou and Donner, 2008, Statistics in Medicine
    27, 1693-1702), so that exact limits stay in use where flips are few. The pooled limits are narrower: a dimension
    may have a tighter tolerance than each of its benchmarks. The single effects must come from a number of items fixed
    beforehand: those of tests that stopped early overstate why they stopped.

    Raises:
        ValueError: if there are no strata, or weights that are not positive.
    """
    if not strata or min(stratum.weight for stratum in strata) <= 0:
        raise ValueError(f"{len(strata)} strata; at least one is needed, and positive weights")
    total = sum(stratum.weight for stratum in strata)
    shares = [stratum.weight / total for stratum in strata]
    effect = sum(share * stratum.effect for share, stratum in zip(shares, strata, strict=True))
    down = sqrt(sum((s * (one.effect - one.low)) ** 2 for s, one in zip(shares, strata, strict=True)))
    up = sqrt(sum((s * (one.high - one.effect)) ** 2 for s, one in zip(shares, strata, strict=True)))
    return Pooled(effect, effect - down, effect + up)
