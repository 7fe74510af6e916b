"""Fidelity: how far a candidate's next-token distributions are from the baseline's, summed up over a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from pytest_qllm.verdict.paired import Floats

PERCENTILES = (1, 5, 10, 50, 90, 95, 99, 99.9)


@dataclass(frozen=True)
class Fidelity:
    """The figures that llama.cpp's ``--kl-divergence`` prints.

    Attributes:
        tokens: positions compared.
        kl_mean, kl_mean_se: mean KL divergence from the baseline in nats, and its standard error over documents.
        kl_max: the largest.
        kl_percentiles: by percentile.
        same_top, same_top_se: share of positions whose likeliest token is the baseline's.
        delta_p_mean, delta_p_mean_se, delta_p_rms: change of the probability of the true token.
        delta_p_percentiles: by percentile.
    """

    tokens: int
    kl_mean: float
    kl_mean_se: float | None
    kl_max: float
    kl_percentiles: dict[str, float]
    same_top: float
    same_top_se: float | None
    delta_p_mean: float
    delta_p_mean_se: float | None
    delta_p_rms: float
    delta_p_percentiles: dict[str, float]


def summarize(positions: Floats, tokens: Sequence[int]) -> Fidelity:
    """Sum up the comparison of every position.

    Args:
        positions: shape (positions, 4): KL divergence, same top token, p(true token) of baseline and of candidate.
        tokens: positions of each document, in order. Positions of one document are not independent, so that standard
            errors are those of a ratio estimator over documents (Cochran, 1977, section 6.3).

    Raises:
        ValueError: if there are no positions, they do not add up, or a figure is not a finite number.
    """
    if len(positions) == 0 or sum(tokens) != len(positions):
        raise ValueError(f"{len(positions)} positions for documents of {list(tokens)} tokens")
    if not np.isfinite(positions).all():
        raise ValueError("a divergence is not a finite number: the model is broken")
    divergence, same = positions[:, 0], positions[:, 1]
    change = positions[:, 3] - positions[:, 2]
    return Fidelity(
        tokens=len(positions),
        kl_mean=float(divergence.mean()),
        kl_mean_se=_standard_error(divergence, tokens),
        kl_max=float(divergence.max()),
        kl_percentiles=_percentiles(divergence),
        same_top=float(same.mean()),
        same_top_se=_standard_error(same, tokens),
        delta_p_mean=float(change.mean()),
        delta_p_mean_se=_standard_error(change, tokens),
        delta_p_rms=sqrt(float((change**2).mean())),
        delta_p_percentiles=_percentiles(change),
    )


def _percentiles(values: Floats) -> dict[str, float]:
    return {f"{at:g}": float(value) for at, value in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)}


def _standard_error(values: Floats, tokens: Sequence[int]) -> float | None:
    """Of the mean over all positions; None for a single document, which tells nothing of others."""
    documents = len(tokens)
    if documents < 2:
        return None
    ends = np.cumsum(tokens)
    totals = np.array([values[end - size : end].sum() for end, size in zip(ends, tokens, strict=True)])
    residuals = totals - values.mean() * np.asarray(tokens)
    return sqrt(documents / (documents - 1) * float(residuals @ residuals)) / float(ends[-1])
