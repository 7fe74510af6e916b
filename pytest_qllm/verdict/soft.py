"""Graded scores behind an accuracy: the probability of the right choice, and variance reduction by the baseline.

The soft score moves before the answer flips, and its paired difference has a smaller standard error than accuracy's on
the same answers. It is another quantity, though: a tolerance of its own has to be set for it (``Kind.SOFT``). What it
cannot do is sharpen the accuracy's own difference as a control variate, as its expectation is no better known. The
baseline's soft score can, where the baseline has been measured on more items than the candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from pytest_qllm.verdict.means import Studentized, skewness_error

Floats = NDArray[np.float64]


def soft_score(loglikelihoods: Sequence[float], right: int, lengths: Sequence[float] | None = None) -> float:
    """Probability of the right choice among the choices, if each were drawn by its likelihood.

    Args:
        loglikelihoods: of each choice, in nats.
        right: index of the right one.
        lengths: of the choices, where likelihoods are compared by length (``acc_norm``); None where as they are.

    Raises:
        ValueError: unless there are two or more finite choices, and the right one is among them.
    """
    values = np.asarray(loglikelihoods, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2 or not 0 <= right < len(values) or not np.isfinite(values).all():
        raise ValueError(
            f"choices {list(loglikelihoods)} with the right one at {right}: two or more finite ones needed"
        )
    if lengths is not None:
        values = values / np.asarray(lengths, dtype=np.float64)
    return float(softmax(values)[right])


def control_variate(differences: Floats, control: Floats) -> Studentized:
    """The mean difference, adjusted by a control that is known on more items than the differences.

    The regression estimator of two-phase sampling (Cochran, 1977, *Sampling Techniques*, section 12.6): the control's
    mean over the first n items is moved to its mean over all N, and the differences' mean with it. Its large-sample
    variance is (1 - r^2) s^2 / n + r^2 s^2 / N, where r is the correlation. The slope is estimated, which costs one
    degree of freedom and the factor 1 + 1/(n - 3).

    Args:
        differences: candidate minus baseline of the n items that both have answered, shape (n,).
        control: what the baseline alone says of each item, such as its soft score, shape (N,), those n items first.

    Returns:
        the adjusted mean with its error; a control without any spread leaves the plain mean.

    Raises:
        ValueError: for fewer than 10 differences, or a control of fewer items than those.
    """
    n, total = len(differences), len(control)
    if n < 10 or total < n:
        raise ValueError(f"{n} differences and {total} control values: 10 or more, and a control for each, are needed")
    own = control[:n] - control[:n].mean()
    centred = differences - differences.mean()
    spread = float(own @ own)
    slope = float(own @ centred) / spread if spread > 0 else 0.0
    residuals = centred - slope * own
    within = float(residuals @ residuals) / (n - 2) * (1 + 1 / (n - 3)) / n
    between = slope**2 * float(control.var(ddof=1)) / total
    effect = float(differences.mean() - slope * (control[:n].mean() - control.mean()))
    squares = float(residuals @ residuals)
    skewness = float((residuals**3).sum()) / squares**1.5 if squares > 0 else 0.0
    return Studentized(effect, sqrt(within + between), n - 2.0, skewness, skewness_error(n))
