"""Group-sequential looks: when to judge the growing sample, and at which error, so that all looks together keep alpha.

Error spending (Lan and DeMets, 1983, Biometrika 70, 659-663): the error that may be used up by the time that a fraction
t of the planned items is there is ``alpha * t ** rho`` (Kim and DeMets, 1987, Biometrika 74, 149-154; Jennison and
Turnbull, 2000, *Group Sequential Methods*, section 7.2). The nominal level of each look follows from it by numerical
integration of the normal process with independent increments (Armitage, McPherson and Rowe, 1969, JRSS A 132, 235-244;
Jennison and Turnbull, chapter 19). It only needs the fractions of the looks up to the present one, so that looks may
lie anywhere, for instance at whole blocks.

PASS and FAIL are two one-sided tests of the same point, each with its own alpha. Each boundary is computed as if the
other did not exist (non-binding), so that each error holds by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from pytest_qllm.verdict.paired import ALPHA

Floats = NDArray[np.float64]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(240)
_FAR = 9.0  # standard deviations after which a normal density counts as zero


@dataclass(frozen=True)
class Design:
    """How error is spent and where the looks lie.

    Attributes:
        alpha: error of a wrong PASS over all looks, and of a wrong FAIL.
        rho: exponent of the spending function; 1 spends early (near Pocock), 3 late (near O'Brien and Fleming).
        first: fraction of the planned items at which to look first.
        growth: each look has that many times the items of the one before.
        inflation: planned items over those of a fixed design of the same power, the price of looking early.
    """

    alpha: float = ALPHA
    rho: float = 1.75
    first: float = 0.05
    growth: float = 1.25
    inflation: float = 1.09

    def __post_init__(self) -> None:
        if not (0 < self.alpha < 0.5 and self.rho > 0 and 0 < self.first <= 1 and self.growth > 1):
            raise ValueError(f"{self} is no design: alpha lies in (0, 0.5), rho > 0, first in (0, 1], growth > 1")

    @property
    def is_fixed(self) -> bool:
        """Whether there is one look, at all items."""
        return self.first == 1

    @classmethod
    def fixed(cls, alpha: float = ALPHA) -> Design:
        """One look at all items: for those who must report a fixed n."""
        return cls(alpha=alpha, first=1.0, inflation=1.0)


DEFAULT = Design()


@dataclass(frozen=True)
class Look:
    """Judge the first ``items`` items, PASS and FAIL each at the one-sided nominal level ``alpha``."""

    items: int
    alpha: float


def looks(planned: int, block: int, design: Design = DEFAULT, minimum: int = 1) -> tuple[Look, ...]:
    """The looks at a benchmark of ``planned`` items that are measured in blocks; the last is at all of them.

    None but the last lies below ``minimum`` items, with which the kind of metric could not be judged.

    Raises:
        ValueError: unless both are at least 1.
    """
    if planned < 1 or block < 1:
        raise ValueError(f"planned={planned} items in blocks of {block}; both must be at least 1")
    places: list[int] = []
    fraction = design.first
    while fraction < 1:
        items = -(-round(fraction * planned) // block) * block
        if items >= planned:
            break
        if items >= minimum and items not in places:
            places.append(items)
        fraction *= design.growth
    places.append(planned)
    levels = nominal_levels(tuple(items / planned for items in places), design.alpha, design.rho)
    return tuple(Look(items, level) for items, level in zip(places, levels, strict=True))


@lru_cache(maxsize=4096)
def nominal_levels(fractions: tuple[float, ...], alpha: float = ALPHA, rho: float = DEFAULT.rho) -> tuple[float, ...]:
    """One-sided nominal level of each look, at growing fractions of the planned information.

    Raises:
        ValueError: unless the fractions grow within (0, 1].
    """
    if fractions == (1.0,):
        return (alpha,)
    bounds = boundaries(fractions, tuple(alpha * fraction**rho for fraction in fractions))
    return tuple(float(norm.sf(bound)) for bound in bounds)


def boundaries(fractions: tuple[float, ...], spent: tuple[float, ...]) -> tuple[float, ...]:
    """Critical values of a one-sided test whose error up to look k is ``spent[k]``.

    Raises:
        ValueError: unless the fractions grow within (0, 1] and the spent error grows with them.
    """
    if not fractions or list(fractions) != sorted(set(fractions)) or fractions[0] <= 0 or fractions[-1] > 1:
        raise ValueError(f"looks at the fractions {fractions}; they must grow within (0, 1]")
    if len(spent) != len(fractions) or list(spent) != sorted(set(spent)) or spent[0] <= 0:
        raise ValueError(f"spent errors {spent} must grow with the {len(fractions)} looks")
    bounds = [float(norm.isf(spent[0]))]
    process = _Process(fractions[0], -_FAR, bounds[0], 0.0)
    for before, now, fraction in zip(spent, spent[1:], fractions[1:], strict=False):
        step = process.to(fraction)
        # Never below 0: a look may not reject on evidence in the other direction.
        bounds.append(float(brentq(lambda c, step=step, gap=now - before: step.above(c) - gap, 0.0, _FAR, xtol=1e-9)))
        process = step.stay(-_FAR, bounds[-1])
    return tuple(bounds)


def crossings(
    fractions: tuple[float, ...], lower: tuple[float, ...], upper: tuple[float, ...], drift: float
) -> tuple[Floats, Floats]:
    """Probability to leave first below ``lower``, and first above ``upper``, at each look.

    Args:
        fractions: of the information, growing; the score has mean ``drift * sqrt(fraction)`` and variance 1.
        lower: critical values below; ``-inf`` where there is none.
        upper: critical values above.
        drift: mean of the standardized statistic at the full information.

    Returns:
        two arrays, shape (looks,).
    """
    below, above = np.zeros(len(fractions)), np.zeros(len(fractions))
    process: _Process | None = None
    for k, (fraction, low, high) in enumerate(zip(fractions, lower, upper, strict=True)):
        if process is None:
            mean = drift * sqrt(fraction)
            below[k], above[k] = norm.cdf(low - mean), norm.sf(high - mean)
            process = _Process(fraction, max(low, mean - _FAR), min(high, mean + _FAR), drift)
        else:
            step = process.to(fraction)
            below[k], above[k] = step.below(low), step.above(high)
            mean = drift * sqrt(fraction)
            process = step.stay(max(low, mean - _FAR), min(high, mean + _FAR))
    return below, above


def overall_p_value(levels: Sequence[float], fractions: tuple[float, ...], rho: float = DEFAULT.rho) -> float:
    """The smallest overall alpha at which any look so far would have decided: valid at any stopping.

    The repeated p-value of Jennison and Turnbull (2000), section 9.5, at its smallest over the looks.

    Args:
        levels: nominal p-value of each look; 1 where it was passed over.
        fractions: of the planned information at each look, growing.
        rho: of the spending function.
    """
    if len(fractions) == 1 and fractions[0] == 1:
        return levels[0]
    low, high = 1e-12, 0.4999
    scores = norm.isf(np.where(np.asarray(levels) < 0.5, levels, 1.0))

    def excess(log_alpha: float) -> float:
        # The level of a look does not depend on those after it, so that one recursion serves all looks.
        bounds = norm.isf(nominal_levels(fractions, float(np.exp(log_alpha)), rho))
        return float(np.max(scores - bounds))

    if min(levels) >= 0.5 or excess(np.log(high)) < 0:
        return 1.0
    if excess(np.log(low)) > 0:
        return low
    return float(np.exp(brentq(excess, np.log(low), np.log(high), xtol=1e-4)))


class _Process:
    """Density of S(t) = Z(t) sqrt(t) over the sample paths that have not been stopped yet, on quadrature nodes."""

    def __init__(self, fraction: float, low: float, high: float, drift: float) -> None:
        self.fraction, self.drift = fraction, drift
        self.nodes, self.weights = _rule(low * sqrt(fraction), high * sqrt(fraction))
        self.mass = self.weights * norm.pdf(self.nodes, drift * fraction, sqrt(fraction))

    def to(self, fraction: float) -> _Step:
        return _Step(self, fraction)


class _Step:
    def __init__(self, start: _Process, fraction: float) -> None:
        self.start, self.fraction = start, fraction
        self.means = start.nodes + start.drift * (fraction - start.fraction)
        self.spread = sqrt(fraction - start.fraction)

    def above(self, bound: float) -> float:
        return float(self.start.mass @ norm.sf(bound * sqrt(self.fraction), self.means, self.spread))

    def below(self, bound: float) -> float:
        return float(self.start.mass @ norm.cdf(bound * sqrt(self.fraction), self.means, self.spread))

    def stay(self, low: float, high: float) -> _Process:
        process = _Process(self.fraction, low, high, self.start.drift)
        density = norm.pdf(process.nodes[:, None], self.means[None, :], self.spread)
        process.mass = process.weights * (density @ self.start.mass)
        return process


def _rule(low: float, high: float) -> tuple[Floats, Floats]:
    half = max(high - low, 0.0) / 2
    return half * _NODES + (low + high) / 2, half * _WEIGHTS
