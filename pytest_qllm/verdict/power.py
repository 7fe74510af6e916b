"""Planning: what a number of items can decide, and how many items a tolerance needs, before any is measured."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, inf, log, log1p, sqrt

from scipy.stats import norm

from pytest_qllm.verdict.exact import critical_limit, passing_counts, probability
from pytest_qllm.verdict.paired import ALPHA
from pytest_qllm.verdict.sequential import DEFAULT, Design

EXPECTED_FLIPS: Mapping[int, float] = {16: 0.02, 8: 0.04, 4: 0.12, 3: 0.20, 2: 0.35}
"""Share of answers expected to flip, by bit-width.

16: a rerun on other hardware, 1.3 to 2.7 %. 8: bitsandbytes int8 1.8 to 7.2 % on the default model; FP8 of Llama-3.1-8B
8.7 %. 4: nf4 and fp4 6.8 to 21 %; W4A16 of Llama-3.1-8B 12.6 %. 3 and 2: between 4 bits and a destroyed model, whose
answers agree with the baseline's only by chance.
"""

POWER = 0.95
"""Power of the fixed design that adaptive stopping is compared with: both errors then are 5 %."""


def expected_flips(bits: int) -> float:
    """Share of answers expected to flip at a width; a width between two rows takes the narrower one's, the larger."""
    below = [width for width in EXPECTED_FLIPS if width <= bits]
    return EXPECTED_FLIPS[max(below) if below else min(EXPECTED_FLIPS)]


def fixed_items(tolerance: float, flips: float, power: float = POWER, alpha: float = ALPHA) -> int:
    """Items with which one look passes a harmless regime, and fails a loss of twice the tolerance, with that power.

    Normal approximation with the variances of the hypotheses (Nam, 1997, Biometrics 53, 1422-1430, for paired
    proportions); where flips are few, also enough for no flips at all to prove the tolerance. With many flips it is
    (z_alpha + z_beta)^2 flips / tolerance^2 (Miller, arXiv 2411.00640, section 4).

    Args:
        tolerance: largest allowed loss, as a difference of proportions.
        flips: share of answers that differ, broken and mended; a loss cannot be larger than it, so that at least the
            loss itself is taken.

    Raises:
        ValueError: unless tolerance and flips lie in (0, 1] and [0, 1].
    """
    if not (0 < tolerance < 1 and 0 <= flips <= 1):
        raise ValueError(f"tolerance={tolerance}, flips={flips}: expected within (0, 1) and [0, 1]")
    at_null = sqrt(max(flips, tolerance) - tolerance**2)
    harmful = sqrt(max(max(flips, 2 * tolerance) - 4 * tolerance**2, 0.0))
    z_alpha, z_beta = float(norm.isf(alpha)), float(norm.ppf(power))
    needed = max((z_alpha * at_null + z_beta * spread) / tolerance for spread in (sqrt(flips), harmful)) ** 2
    return ceil(max(needed, log(alpha) / log1p(-tolerance)))


def planned_items(tolerance: float, flips: float, power: float = POWER, design: Design = DEFAULT) -> int:
    """Items to provide for a group-sequential test of that power: at most so many are used, and mostly far fewer."""
    return ceil(design.inflation * fixed_items(tolerance, flips, power, design.alpha))


def decides(n: int, loss: float, flips: float, tolerance: float, alpha: float = ALPHA) -> tuple[float, float]:
    """Exact probabilities that one look at ``n`` independent items ends in PASS and in FAIL.

    Args:
        loss: the true one.
        flips: share of answers that differ; at least ``abs(loss)``.
    """
    flips = max(flips, abs(loss))
    broken, mended = (flips + loss) / 2, (flips - loss) / 2
    passing = passing_counts(n, critical_limit(n, tolerance, alpha), alpha)
    failing = passing_counts(n, critical_limit(n, -tolerance, alpha), alpha)
    # For a FAIL the roles of broken and mended are exchanged: the "loss" of the mirrored table is -loss.
    return probability(passing, n, loss, mended), probability(failing, n, -loss, broken)


def exact_fixed_items(tolerance: float, flips: float, power: float = POWER, alpha: float = ALPHA) -> int:
    """As ``fixed_items``, by exact enumeration of the exact test: the smallest n found on a grid of 2 % steps."""

    def enough(n: int) -> bool:
        harmless = decides(n, 0.0, flips, tolerance, alpha)[0]
        return harmless >= power and decides(n, 2 * tolerance, flips, tolerance, alpha)[1] >= power

    n = max(2, int(0.85 * fixed_items(tolerance, flips, power, alpha)))
    while not enough(n):
        n += max(1, n // 50)
    return n


def detectable_loss(n: int, flips: float, power: float = 0.8, alpha: float = ALPHA) -> float:
    """Smallest loss that ``n`` items tell from none, (z_alpha + z_power) sqrt(flips / n): also the smallest tolerance
    that a harmless regime passes with that power (but for exact limits where flips are few)."""
    z = float(norm.isf(alpha) + norm.ppf(power))
    return max(z * sqrt(flips / n), 1.0 - float(alpha ** (1 / n)))


def failing_loss(n: int, flips: float, tolerance: float, power: float = 0.8, alpha: float = ALPHA) -> float:
    """Smallest true loss that ``n`` items prove to be beyond the tolerance with that power."""
    z_alpha, z_beta = float(norm.isf(alpha)), float(norm.ppf(power))
    at_null = sqrt(max(flips, tolerance) - tolerance**2)
    loss: float = tolerance
    for _ in range(50):  # the variance grows with the loss; a fixed point
        spread = sqrt(max(max(flips, loss) - loss**2, 0.0))
        loss = min(1.0, tolerance + (z_alpha * at_null + z_beta * spread) / sqrt(n))
    return loss


def decidable(n: int, tolerance: float, flips: float, power: float = 0.8, design: Design = DEFAULT) -> bool:
    """Whether a harmless regime with so many flips passes with that power when ``n`` items are planned."""
    effective = int(n / design.inflation)
    return effective >= 1 and decides(effective, 0.0, flips, tolerance, design.alpha)[0] >= power


def equivalent_fixed_items(
    n: int, error: float, margin: float, floor: float = 0.0, power: float = POWER, alpha: float = ALPHA
) -> float:
    """Items of a fixed design of that power, from the standard error that was seen with ``n`` items.

    Args:
        error: standard error of the effect.
        margin: distance of the tolerance from no loss, on the scale of the error.
        floor: fewest items that could ever do.
    """
    if margin <= 0:
        return inf
    z = float(norm.isf(alpha) + norm.ppf(power))
    distance = z * error / margin
    return max(floor, n * distance * distance)
