"""SNLI's pairs: those whose annotators agree."""

from __future__ import annotations

from typing import Any


def with_a_label(dataset: Any) -> Any:
    """The pairs that have a gold label: 0 entailment, 1 neutral, 2 contradiction; -1 is none."""
    return dataset.filter(lambda document: int(document["label"]) in (0, 1, 2))
