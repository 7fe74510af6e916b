"""Scoring code of others that draws from the global random state: the same for the same item, in every run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def steady(item: str) -> Iterator[None]:
    """The global random state seeded by an item's id, and as it was afterwards.

    IFEval's checkers draw what an instruction leaves open, such as a threshold that is given as 0.
    """
    state = random.getstate()
    random.seed(item)
    try:
        yield
    finally:
        random.setstate(state)
