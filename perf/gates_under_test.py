"""Simulated gates: many at once, each a growing sample that is judged at the looks of a design."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from pytest_qllm.verdict.exact import critical_limit, tango_score
from pytest_qllm.verdict.kinds import Kind
from pytest_qllm.verdict.means import Units, exceedance, studentize
from pytest_qllm.verdict.sequential import Design, Look, looks
from pytest_qllm.verdict.soft import control_variate

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcomes:
    """Of each gate: 1 for PASS, -1 for FAIL, 0 for INCONCLUSIVE; and the items that it used."""

    decisions: NDArray[np.int64]
    items: NDArray[np.int64]

    @property
    def passed(self) -> float:
        return float((self.decisions > 0).mean())

    @property
    def failed(self) -> float:
        return float((self.decisions < 0).mean())

    @property
    def mean_items(self) -> float:
        return float(self.items.mean())


def conduct(
    plan: tuple[Look, ...], gates: int, decide: Callable[[int, NDArray[np.int64]], NDArray[np.int64]]
) -> Outcomes:
    """``decide`` is given a look's place and the gates that are still open, and returns their decisions."""
    decisions, items = np.zeros(gates, np.int64), np.full(gates, plan[-1].items)
    open_ = np.arange(gates)
    for k, look in enumerate(plan):
        found = decide(k, open_)
        decisions[open_], items[open_] = found, look.items
        open_ = open_[found == 0]
        if not len(open_):
            break
    return Outcomes(decisions, items)


def rates(loss: float, flips: float) -> tuple[float, float, float]:
    """Probabilities of broken, mended and equal; a loss cannot exceed the flips, so that at least it is taken."""
    flips = max(flips, abs(loss))
    return (flips + loss) / 2, (flips - loss) / 2, 1 - flips


def independent(
    n: int,
    tolerance: float,
    loss: float,
    flips: float,
    gates: int,
    block: int,
    design: Design,
    rng: np.random.Generator,
) -> Outcomes:
    """Right and wrong answers of independent items; the verdict is that of the exact limits."""
    plan = looks(n, block, design)
    steps = np.diff([0, *(look.items for look in plan)])
    drawn = np.stack([rng.multinomial(step, rates(loss, flips), size=gates) for step in steps]).cumsum(0)

    def decide(k: int, open_: NDArray[np.int64]) -> NDArray[np.int64]:
        items, alpha = plan[k].items, plan[k].alpha
        broken, mended = drawn[k, open_, 0], drawn[k, open_, 1]
        z = norm.isf(alpha)
        # One score for all tables: `tests/unit/verdict/test_exact.py` shows that it decides as the limits do.
        passed = tango_score(broken, mended, items, critical_limit(items, tolerance, alpha)) >= z
        failed = tango_score(mended, broken, items, critical_limit(items, -tolerance, alpha)) >= z
        return passed.astype(np.int64) - failed

    return conduct(plan, gates, decide)


def clustered(
    clusters: int,
    size: int,
    correlation: float,
    tolerance: float,
    loss: float,
    flips: float,
    gates: int,
    block: int,
    design: Design,
    rng: np.random.Generator,
) -> Outcomes:
    """Right and wrong answers of items in clusters of ``size``, in random order over all clusters.

    With probability sqrt(correlation) an item takes the value that its cluster shares, else one of its own.
    """
    n = clusters * size
    plan = looks(n, block, design)
    chances = rates(loss, flips)

    def draw(shape: tuple[int, ...]) -> NDArray[np.int8]:
        uniform = rng.random(shape)
        return (uniform < chances[0]).astype(np.int8) - ((uniform > 1 - chances[1]).astype(np.int8))

    places = rng.permutation(np.repeat(np.arange(clusters), size))
    values = np.where(
        rng.random((gates, n)) < np.sqrt(correlation), draw((gates, clusters))[:, places], draw((gates, n))
    )

    def decide(k: int, open_: NDArray[np.int64]) -> NDArray[np.int64]:
        items, alpha = plan[k].items, plan[k].alpha
        sizes = np.bincount(places[:items], minlength=clusters).astype(float)
        member = np.eye(clusters)[places[:items]][:, sizes > 0]
        sums, sizes = values[open_, :items].astype(float) @ member, sizes[sizes > 0]
        extra = float((sizes**2).sum() / sizes.sum())
        # As `means.gaffke_p_value`, for all gates at once.
        over = np.column_stack([sums - tolerance * sizes, np.full(len(open_), (1 - tolerance) * extra)])
        under = np.column_stack([tolerance * sizes - sums, np.full(len(open_), (1 + tolerance) * extra)])
        return (exceedance(over) <= alpha).astype(np.int64) - (exceedance(under) <= alpha)

    return conduct(plan, gates, decide)


def graded(
    n: int,
    tolerance: float,
    loss: float,
    flips: float,
    gates: int,
    block: int,
    design: Design,
    rng: np.random.Generator,
) -> Outcomes:
    """Scores in [0, 1] that differ on a share ``flips`` of the items, by up to 1 (ROUGE, token F1)."""
    flips = max(flips, 2 * abs(loss))
    # Beta differences whose mean is loss / flips, mirrored for gains.
    worse = rng.random((gates, n)) < (1 + 2 * loss / flips) / 2
    losses = np.where(rng.random((gates, n)) < flips, np.where(worse, 1, -1) * rng.beta(1, 1, (gates, n)), 0.0)
    return bounded(losses, tolerance, block, design)


def bounded(losses: Floats, tolerance: float, block: int, design: Design) -> Outcomes:
    """Losses between -1 and 1, shape (gates, items), by Gaffke's bound."""
    gates, n = losses.shape
    plan = looks(n, block, design)

    def decide(k: int, open_: NDArray[np.int64]) -> NDArray[np.int64]:
        items, alpha = plan[k].items, plan[k].alpha
        sums = losses[open_, :items]
        over = np.column_stack([sums - tolerance, np.full(len(open_), 1 - tolerance)])
        under = np.column_stack([tolerance - sums, np.full(len(open_), 1 + tolerance)])
        return (exceedance(over) <= alpha).astype(np.int64) - (exceedance(under) <= alpha)

    return conduct(plan, gates, decide)


def studentized(
    n: int,
    tolerance: float,
    draw: Callable[[np.random.Generator, int, int], tuple[Floats, Floats]],
    gates: int,
    block: int,
    design: Design,
    rng: np.random.Generator,
    kind: Kind,
) -> Outcomes:
    """Units whose losses ``draw`` gives as sums and sizes, both of shape (gates, units)."""
    plan = looks(n, block, design, kind.first_look)
    sums, sizes = draw(rng, gates, n)

    def decide(k: int, open_: NDArray[np.int64]) -> NDArray[np.int64]:
        items, alpha = plan[k].items, plan[k].alpha
        found = np.zeros(len(open_), np.int64)
        for place, gate in enumerate(open_):
            estimate = studentize(Units(sums[gate, :items], sizes[gate, :items]))
            low, high = estimate.interval(alpha)
            found[place] = int(high < tolerance) - int(low > tolerance)
        return found

    return conduct(plan, gates, decide)


def adjusted(
    n: int, total: int, tolerance: float, loss: float, gates: int, design: Design, rng: np.random.Generator
) -> tuple[Outcomes, float]:
    """Accuracy adjusted by the baseline's soft score, known on ``total`` items; one look at ``n`` items.

    The margin of the right choice is normal and moves with noise and a shift, so that answers near 0 flip. The shift
    makes the loss exactly ``loss``. Also returns the mean ratio of adjusted over plain standard error.
    """
    spread, noise = 1.0, 0.35
    # P(right) falls from 1/2 by `loss` where the margin's total spread is sqrt(spread^2 + noise^2).
    shift = norm.ppf(0.5 - loss) * np.sqrt(spread**2 + noise**2)
    decisions, ratios = np.zeros(gates, np.int64), np.zeros(gates)
    for gate in range(gates):
        margin = rng.normal(0, spread, total)
        moved = margin[:n] + shift + noise * rng.normal(0, 1, n)
        differences = (moved > 0).astype(float) - (margin[:n] > 0)
        found = control_variate(differences, 1 / (1 + np.exp(-margin)))
        low, high = found.interval(design.alpha)
        decisions[gate] = int(low > -tolerance) - int(high < -tolerance)
        ratios[gate] = found.error / (differences.std(ddof=1) / np.sqrt(n))
    return Outcomes(decisions, np.full(gates, n)), float(ratios.mean())
