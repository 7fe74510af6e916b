"""How often the gate of a bias score errs at a loss of exactly the tolerance: by its rule, and by the folded distance.

    python perf/simulate_bias.py --runs 400

Answers are disambiguated questions of which 80 % are informative and 10 % change; 2,000 resamples, so that it takes
minutes. A wrong PASS should be seen in 5 % of runs at most.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np

from pytest_qllm.benchmarks.bias import bias_score
from pytest_qllm.verdict.corpus import bias_interval, corpus_interval

METRIC = bias_score("disamb_bias_score")
TOLERANCE, ALPHA, FLIPS, RESAMPLES = 0.05, 0.05, 0.1, 2000


def answers(score: float, loss: float, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Statistics of both models' answers; the candidate lies further from 0 by ``loss``."""
    before, after = (1 + score) / 2, (1 + score + loss * (1 if score >= 0 else -1)) / 2
    mended = (FLIPS - (after - before)) / 2
    first, draw = rng.random(count) < before, rng.random(count)
    second = np.where(first, draw >= mended / before, draw < (mended + after - before) / (1 - before))
    informative = (rng.random(count) < 0.8).astype(float)
    ones, zeros = np.ones(count), np.zeros(count)
    one, other = (np.stack([ones, zeros, biased * informative, informative], axis=1) for biased in (first, second))
    return one, other


def verdict(low: float, high: float) -> str:
    return "PASS" if low > -TOLERANCE else "FAIL" if high < -TOLERANCE else "neither"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=5)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    for count in (400, 1500):
        for score in (0.0, 0.05, 0.2, -0.05):
            rules: dict[str, Counter[str]] = {"rule": Counter(), "folded": Counter()}
            for _ in range(given.runs):
                pair = answers(score, TOLERANCE, count, rng)
                _, low, high, _ = bias_interval(*pair, METRIC, ALPHA, np.random.default_rng(0), RESAMPLES)
                rules["rule"][verdict(low, high)] += 1
                _, low, high, _ = corpus_interval(
                    *pair, lambda parts: -np.abs(METRIC(parts)), ALPHA, np.random.default_rng(0), RESAMPLES
                )
                rules["folded"][verdict(low, high)] += 1
            shown = {name: {key: f"{n / given.runs:.1%}" for key, n in found.items()} for name, found in rules.items()}
            print(f"{count} answers, baseline {score:+.2f}, loss {TOLERANCE}: {shown}", flush=True)


if __name__ == "__main__":
    main()
