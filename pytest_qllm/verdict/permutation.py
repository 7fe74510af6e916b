"""p-values of a correlation of few points, which take no distribution for granted."""

from __future__ import annotations

from itertools import permutations
from math import factorial

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EXACT = 8
"""Up to so many points every order is looked at: 8! = 40,320."""

SHUFFLES = 9999


def permutation_p_value(x: Floats, y: Floats, generator: np.random.Generator) -> float:
    """Two-sided p-value of "the order of y has nothing to do with x", by Pearson's coefficient of what is given.

    Of ranks it is Spearman's test. Exact up to 8 points, else by 9,999 orders at random (Phipson and Smyth, 2010,
    Statistical Applications in Genetics and Molecular Biology 9: the order that was seen counts as one of them, so that
    no p-value is 0).

    Args:
        x, y: shape (n,), neither of them constant.
    """
    n = len(x)
    centred = x - x.mean()
    seen = abs(float(centred @ y))
    slack = 1e-12 * float(np.abs(centred) @ np.abs(y))
    if n <= EXACT:
        orders = np.array(list(permutations(range(n))))
        return float((np.abs(y[orders] @ centred) >= seen - slack).sum()) / factorial(n)
    orders = generator.permuted(np.tile(np.arange(n), (SHUFFLES, 1)), axis=1)
    return (1 + int((np.abs(y[orders] @ centred) >= seen - slack).sum())) / (1 + SHUFFLES)
