"""The rules of other public gates, as published (shared FACTS.md names the sources), on scores simulated alike.

Each rule sees the baseline's and the candidate's answers to the same items, as counts, and says 1 (passes), -1 (fails)
or 0 (undecided). GPTQModel's is left out, since it never compares with FP16, and SGLang's, since its constant was set
by hand for one model and 64 items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, norm

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """Counts of each simulated run over ``n`` items, arrays of one shape."""

    n: int
    right: Counts
    broken: Counts
    mended: Counts

    @property
    def baseline(self) -> NDArray[np.float64]:
        return self.right / self.n

    @property
    def candidate(self) -> NDArray[np.float64]:
        return (self.right - self.broken + self.mended) / self.n


def _two_way(passes: NDArray[np.bool_]) -> Counts:
    return np.where(passes, 1, -1)


def llm_compressor(scores: Scores, tolerance: float) -> Counts:
    """round(quantized / base, 2) >= 0.95."""
    return _two_way(np.round(scores.candidate / scores.baseline, 2) >= 0.95)


def vllm(scores: Scores, tolerance: float) -> Counts:
    """measured >= stored (1 - 0.08)."""
    return _two_way(scores.candidate >= scores.baseline * (1 - 0.08))


def tensorrt_llm(scores: Scores, tolerance: float) -> Counts:
    """score >= reference + z(alpha) sqrt(2 sigma^2 / n), sigma fixed at 50 points, alpha 0.05 (z is negative)."""
    return _two_way(scores.candidate >= scores.baseline + norm.ppf(0.05) * np.sqrt(2 * 0.5**2 / scores.n))


def nemo(scores: Scores, tolerance: float) -> Counts:
    """Paired 95 % interval of the loss below max_drop passes, above breaches, else undecided."""
    loss = (scores.broken - scores.mended) / scores.n
    variance = (scores.broken + scores.mended) / scores.n - loss**2
    margin = norm.isf(0.025) * np.sqrt(variance / scores.n)
    return (loss + margin < tolerance).astype(np.int64) - (loss - margin > tolerance)


def mcnemar(scores: Scores, tolerance: float) -> Counts:
    """Kuebler et al. (2602.10144): exact one-sided McNemar test of any loss at 5 %."""
    flips = scores.broken + scores.mended
    return _two_way(binom.sf(scores.broken - 1, np.maximum(flips, 1), 0.5) >= 0.05)


RULES: Mapping[str, Callable[[Scores, float], Counts]] = {
    "llm-compressor": llm_compressor,
    "vLLM": vllm,
    "TensorRT-LLM": tensorrt_llm,
    "NeMo": nemo,
    "McNemar": mcnemar,
}


def draw(n: int, accuracy: float, broken: float, mended: float, runs: int, generator: np.random.Generator) -> Scores:
    """Runs of ``n`` independent items that the baseline has right with probability ``accuracy``."""
    cells = generator.multinomial(n, [accuracy - broken, broken, mended, 1 - accuracy - mended], size=runs)
    return Scores(n, cells[:, 0] + cells[:, 1], cells[:, 1], cells[:, 2])
