"""How often the verdict on a whole dimension is wrong, and what it finds that no single benchmark does.

    python perf/simulate_pooled.py                   # 10,000 gates a case (2,000 of texts), minutes on one core
    python perf/simulate_pooled.py --json out.json --seed 7

Each case is a dimension of several benchmarks with items, losses and flips of their own; their items are interleaved
as ``dimension.Pooled`` does it. ``at the tolerance``: the mean loss per item is exactly the tolerance, however it is
spread over the benchmarks, so that every PASS and every FAIL is wrong. ``texts``: the same of perplexities, whose
documents differ in length by benchmark. ``small losses``: each benchmark loses less than its own tolerance.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from itertools import pairwise
from math import log
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

sys.path.insert(0, str(Path(__file__).parent))

from gates_under_test import Floats, Outcomes, conduct, independent, rates, studentized

from pytest_qllm.verdict.exact import critical_limit, tango_score
from pytest_qllm.verdict.kinds import Kind
from pytest_qllm.verdict.sequential import DEFAULT, Design, looks
from pytest_qllm.verdict.tolerance import DEFAULTS

BLOCK = 40

Shape = tuple[tuple[int, float, float], ...]
"""Items, loss in units of the tolerance, and share of flips, of each benchmark."""

SHAPES: dict[str, Shape] = {
    "equal": ((500, 1, 0.12),) * 8,
    "all in one small": ((1500, 0, 0.10), (1500, 0, 0.10), (500, 7, 0.30)),
    "all in one large": ((2500, 1.4, 0.20), (500, 0, 0.05), (500, 0, 0.05)),
    "gains and losses": ((1000, 3, 0.15), (1000, -1, 0.15), (1000, 1, 0.05)),
    "as the default model": ((570, 1, 0.12), (160, 0.5, 0.12), (40, 3, 0.25)),
    "tiny ones": ((40, 1, 0.12),) * 6,
    "few flips": ((400, 1, 0.02),) * 5,
}

TEXTS: dict[str, Shape] = {
    "articles, stories": ((62, 1, 4500), (100, 1, 350)),
    "lost in the articles": ((62, 1, 4500), (100, 0, 350)),
    "lost in the stories": ((62, 0, 4500), (100, 1, 350)),
    "four sets": ((62, 1, 4500), (100, 0, 350), (100, 2, 500), (100, 0.5, 900)),
    "few documents": ((8, 1, 4500), (12, 1, 350)),
}
"""Documents, loss in units of the margin, and mean number of tokens, of each benchmark."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gates", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write every case to this file")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    cases = [
        *at_the_tolerance(options.gates, rng),
        *texts(options.gates // 5, rng),
        *small_losses(options.gates, rng),
    ]
    if options.json:
        options.json.write_text(json.dumps(cases, indent=1) + "\n")


def at_the_tolerance(gates: int, rng: np.random.Generator) -> list[dict[str, object]]:
    print(f"{'mean loss exactly the tolerance':34}{'tol':>6} {'items':>6} {'PASS':>7} {'FAIL':>7}")
    cases: list[dict[str, object]] = []
    for name, shape in SHAPES.items():
        for tolerance in (0.015, 0.02, 0.04):
            found = pooled(scaled(shape, tolerance), tolerance, gates, DEFAULT, rng)
            items = sum(count for count, _, _ in shape)
            cases.append({"case": name, "tolerance": tolerance, "pass": found.passed, "fail": found.failed})
            print(f"{name:34}{tolerance:6.3f} {items:6} {found.passed:7.4f} {found.failed:7.4f}", flush=True)
    print(f"worst: PASS {max(case['pass'] for case in cases):.4f}, FAIL {max(case['fail'] for case in cases):.4f}")
    return cases


def texts(gates: int, rng: np.random.Generator) -> list[dict[str, object]]:
    print(f"\n{'ratio exactly the tolerance':34}{'tol':>6} {'texts':>6} {'PASS':>7} {'FAIL':>7}")
    cases: list[dict[str, object]] = []
    noises = {
        "normal": lambda shape: rng.normal(0, 1, shape),
        "skewed": lambda shape: (rng.gamma(4, 1, shape) - 4) / 2,
    }
    for name, shape in TEXTS.items():
        for kind, noise in noises.items():
            for tolerance in (1.015, 1.04):
                found = pooled_texts(shape, log(tolerance), gates, DEFAULT, rng, noise)
                count = sum(documents for documents, _, _ in shape)
                case = f"{name}, {kind}"
                cases.append({"case": case, "tolerance": tolerance, "pass": found.passed, "fail": found.failed})
                print(f"{case:34}{tolerance:6.3f} {count:6} {found.passed:7.4f} {found.failed:7.4f}", flush=True)
    print(f"worst: PASS {max(case['pass'] for case in cases):.4f}, FAIL {max(case['fail'] for case in cases):.4f}")
    return cases


def pooled_texts(
    shape: Shape,
    margin: float,
    gates: int,
    design: Design,
    rng: np.random.Generator,
    noise: Callable[[tuple[int, int]], Floats],
) -> Outcomes:
    """The union of the benchmarks' documents, interleaved; the mean loss per token is the margin, and a document's
    varies by as much."""
    order = sorted(((at + 0.5) / count, place) for place, (count, _, _) in enumerate(shape) for at in range(count))
    places = np.array([place for _, place in order])
    counts, losses, lengths = (np.array(column, dtype=float) for column in zip(*shape, strict=True))
    losses *= margin * (counts * lengths).sum() / (counts * lengths * losses).sum()

    def draw(rng: np.random.Generator, gates: int, n: int) -> tuple[Floats, Floats]:
        sizes = lengths[places] * rng.uniform(0.4, 1.6, (gates, n))
        return sizes * (losses[places] + margin * noise((gates, n))), sizes

    return studentized(len(places), margin, draw, gates, BLOCK, design, rng, Kind.PERPLEXITY)


def small_losses(gates: int, rng: np.random.Generator) -> list[dict[str, object]]:
    """Eight benchmarks of 800 items with the flips and tolerances of 4 bits: each by itself, and all together."""
    single, tolerance, benchmarks, n, flips = DEFAULTS["accuracy"][4], DEFAULTS["pooled"][4], 8, 800, 0.12
    assert isinstance(single, float)
    assert isinstance(tolerance, float)
    about = f"{benchmarks} benchmarks of {n} items, {100 * flips:.0f} % flips"
    print(f"\n{about}, each alone at {100 * single:g} points, all pooled at {100 * tolerance:g}:")
    print("shares of FAIL / INCONCLUSIVE / PASS, %, and of runs in which any single one fails")
    cases: list[dict[str, object]] = []
    for loss in (0.0, 0.01, 0.02, 0.03, 0.035):
        alone = [independent(n, single, loss, flips, gates, BLOCK, DEFAULT, rng) for _ in range(benchmarks)]
        together = pooled(((n, loss, flips),) * benchmarks, tolerance, gates, DEFAULT, rng)
        decisions = np.stack([one.decisions for one in alone])
        some = float((decisions == -1).any(0).mean())
        cases.append({"loss": loss, "single": shares(decisions), "any single fails": some})
        cases[-1]["pooled"] = shares(together.decisions)
        cells = " ".join(
            f"{'{:.0f} / {:.0f} / {:.0f}'.format(*shares(one)):>16}" for one in (decisions, together.decisions)
        )
        print(f"each loses {100 * loss:3.1f} points: {cells}  any {100 * some:.0f}", flush=True)
    return cases


def scaled(shape: Shape, tolerance: float) -> Shape:
    """Losses in points, such that their mean per item is the tolerance."""
    total = sum(count for count, _, _ in shape)
    mean = sum(count * loss for count, loss, _ in shape) / total
    return tuple((count, loss * tolerance / mean, flips) for count, loss, flips in shape)


def pooled(shape: Shape, tolerance: float, gates: int, design: Design, rng: np.random.Generator) -> Outcomes:
    """The union of the benchmarks' items, interleaved; the verdict is that of the exact limits."""
    order = sorted(((at + 0.5) / count, place) for place, (count, _, _) in enumerate(shape) for at in range(count))
    places = np.array([place for _, place in order])
    plan = looks(len(places), BLOCK, design)
    ends = [0, *(look.items for look in plan)]
    drawn = []
    for start, end in pairwise(ends):
        counts = np.bincount(places[start:end], minlength=len(shape))
        parts = [
            rng.multinomial(count, rates(loss, flips), size=gates)
            for count, (_, loss, flips) in zip(counts, shape, strict=True)
        ]
        drawn.append(sum(parts))
    flips = np.stack(drawn).cumsum(0)

    def decide(k: int, open_: NDArray[np.int64]) -> NDArray[np.int64]:
        items, alpha = plan[k].items, plan[k].alpha
        broken, mended = flips[k, open_, 0], flips[k, open_, 1]
        z = norm.isf(alpha)
        passed = tango_score(broken, mended, items, critical_limit(items, tolerance, alpha)) >= z
        failed = tango_score(mended, broken, items, critical_limit(items, -tolerance, alpha)) >= z
        return passed.astype(np.int64) - failed

    return conduct(plan, gates, decide)


def shares(decisions: NDArray[np.int64]) -> list[float]:
    """Percent of FAIL, INCONCLUSIVE and PASS."""
    return [100 * float((decisions == sign).mean()) for sign in (-1, 0, 1)]


if __name__ == "__main__":
    main()
