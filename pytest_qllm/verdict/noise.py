"""The noise floor: what the baseline's own score moves by when nothing changes but what is computed together.

Rounding depends on the shape of a matrix product. In float32 it changes no answer; in bfloat16 a few percent of them.
A tolerance below that floor asks for more than the arithmetic can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, sqrt

import numpy as np
from scipy.stats import norm

_QUANTILE = float(norm.ppf(0.975))


@dataclass(frozen=True)
class NoiseFloor:
    """What was seen when the first items of the baseline were scored again in other batches.

    Attributes:
        items: items scored again.
        largest: largest difference of a log-likelihood, in nats; 0 for generated texts, which have none.
        flips: items whose score changed.
        expected_flips: share of all the baseline's items whose score would change; None for a perplexity.
        floor: what the score moves by, in 95 of 100 repetitions at most: a proportion, or a ratio of perplexities.
    """

    items: int
    largest: float
    flips: int
    expected_flips: float | None
    floor: float


def of_choices(
    first: Sequence[Sequence[float]],
    again: Sequence[Sequence[float]],
    every: Sequence[Sequence[float]],
    lengths: Sequence[Sequence[float]],
    flips: int,
) -> NoiseFloor:
    """Noise floor of an accuracy on the choice with the highest log-likelihood per length.

    A few items show how far a log-likelihood moves; how close the two best choices are, all items tell. An answer flips
    where the difference of two normal errors exceeds their distance.

    Args:
        first: log-likelihoods of the choices of the items that were scored again, in nats.
        again: the same in other batches.
        every: log-likelihoods of the choices of all items.
        lengths: what each choice's log-likelihood is divided by; ones for an accuracy that is not normalized.
        flips: items scored again whose score changed.
    """
    errors = np.concatenate([np.subtract(other, one) for one, other in zip(first, again, strict=True)])
    # Each of the two scorings has its own error, so that one has the variance of half the difference.
    spread = sqrt(float((errors**2).mean()) / 2)
    share = float(np.mean([_flips(item, size, spread) for item, size in zip(every, lengths, strict=True)]))
    largest = float(np.abs(errors).max())
    return NoiseFloor(len(first), largest, flips, share, _QUANTILE * sqrt(share / len(every)))


def _flips(loglikelihoods: Sequence[float], lengths: Sequence[float], spread: float) -> float:
    """Probability that two scorings of one item choose differently."""
    scores = np.divide(loglikelihoods, lengths)
    if len(scores) < 2 or spread == 0:
        return 0.0
    second, best = np.argsort(scores)[-2:]
    error = spread * sqrt(1 / lengths[best] ** 2 + 1 / lengths[second] ** 2)
    wrong = float(norm.sf((scores[best] - scores[second]) / error))
    return 2 * wrong * (1 - wrong)


def of_means(
    first: Sequence[float], again: Sequence[float], largest: float, flips: int, expected_flips: float | None, n: int
) -> NoiseFloor:
    """Noise floor of a mean score (a probability, a grade): each item's moves by itself.

    Args:
        first: scores of the items that were asked again.
        again: the same in other batches.
        largest, flips, expected_flips: of the answers behind them, as the others have them.
        n: items of the baseline.
    """
    spread = float(np.sqrt(np.mean(np.subtract(again, first) ** 2)))
    return NoiseFloor(len(first), largest, flips, expected_flips, _QUANTILE * spread / sqrt(n))


def of_flips(differences: Sequence[float], flips: int, n: int) -> NoiseFloor:
    """Noise floor of any other score in [0, 1], by the flips that were seen.

    Args:
        differences: of the log-likelihoods of the items that were scored again, empty for generated texts.
        flips: how many of them changed their score.
        n: items of the baseline.
    """
    items = len(differences)
    share = flips / items
    return NoiseFloor(items, float(np.abs(differences).max()), flips, share, _QUANTILE * sqrt(share / n))


def of_perplexity(first: Sequence[float], again: Sequence[float], tokens: Sequence[int]) -> NoiseFloor:
    """Noise floor of a perplexity, as a ratio above 1: each text's log-likelihood moves by itself.

    It is that of the texts that were scored again, though more texts average more of it out: errors of rounding may
    have one sign.

    Args:
        first: log-likelihood of each text that was scored again, in nats.
        again: the same in other batches.
        tokens: scored tokens of each.
    """
    errors = np.subtract(again, first)
    return NoiseFloor(
        len(first), float(np.abs(errors).max()), 0, None, exp(_QUANTILE * float(np.linalg.norm(errors)) / sum(tokens))
    )
