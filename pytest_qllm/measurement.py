"""A measurement: the frozen per-item result of one (model, regime, benchmark)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pytest_qllm.errors import QllmError
from pytest_qllm.verdict.verdict import Sample


@dataclass(frozen=True)
class ItemScore:
    """What the model did on one item.

    Attributes:
        id: content hash of the item.
        answer: index of the chosen answer, the generated text, or None for a perplexity.
        metrics: the task's metrics for this item, as lm-eval's ``process_results`` gives them.
        loglikelihoods: in nats, one for each request, as scored (not normalized).
        tokens: scored tokens of each request.
        chance: score expected of a random answer.
        cluster: items of one cluster are not independent; None where they are.
        subset: the subset that the item is from, a stratum and no cluster: all of a benchmark's subsets are asked, so
            that items are independent within them.
        hit_limit: whether a generation was ended by its limit of tokens.
        parts: of each corpus metric, the item's counts; its ``metrics`` then has the score of this item alone.
    """

    id: str
    answer: int | str | None
    metrics: Mapping[str, float]
    loglikelihoods: Sequence[float] = ()
    tokens: Sequence[int] = ()
    chance: float = 0.0
    cluster: str | None = None
    hit_limit: bool = False
    subset: str | None = None
    parts: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Measurement:
    """Scores of the first n items of a benchmark in its fixed order, and where they come from."""

    regime: str
    benchmark: str
    items: tuple[ItemScore, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hit_limit(self) -> int:
        """Generations that were ended by their limit of tokens."""
        return sum(item.hit_limit for item in self.items)

    def sample(self, metric: str) -> Sample:
        """The scores of one metric, for the statistics.

        Raises:
            QllmError: if the metric was not measured on every item.
        """
        lacking = [item for item in self.items if metric not in item.metrics]
        if lacking:
            known = ", ".join(sorted(lacking[0].metrics)) or "none"
            raise QllmError(f"{self.benchmark} has no metric {metric!r}; measured: {known}")
        parts = [item.parts[metric] for item in self.items if metric in item.parts]
        clusters = tuple(item.cluster or item.id for item in self.items)
        is_perplexity = metric == "perplexity"
        return Sample(
            ids=tuple(item.id for item in self.items),
            scores=np.array([item.metrics[metric] for item in self.items], dtype=np.float64),
            weights=np.array([sum(item.tokens) if is_perplexity else 1 for item in self.items], dtype=np.float64),
            chance=np.array([item.chance for item in self.items], dtype=np.float64),
            clusters=clusters if len(set(clusters)) < len(clusters) else None,
            parts=np.array(parts, dtype=np.float64) if parts and len(parts) == len(self.items) else None,
        )
