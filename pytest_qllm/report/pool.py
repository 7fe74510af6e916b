"""The benchmarks behind a verdict on a whole dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Part:
    """One benchmark of a dimension, on the items that were judged; proportions, or perplexities and their ratio.

    Attributes:
        candidate, effect: None where no candidate was judged.
        broken, mended: None of perplexities too.
    """

    benchmark: str
    metric: str
    n: int
    baseline: float
    candidate: float | None = None
    effect: float | None = None
    broken: int | None = None
    mended: int | None = None

    def __str__(self) -> str:
        """Its items, and its effect in points or as a ratio."""
        if self.effect is None:
            return f"{self.benchmark} {self.n}"
        change = f"{100 * self.effect:+.1f}" if self.broken is not None else f"x{self.effect:.3g}"
        return f"{self.benchmark} {self.n} ({change})"


@dataclass(frozen=True)
class Pool:
    """What a dimension was judged on.

    Attributes:
        parts: in the order of the catalog.
        left_out: benchmarks of the dimension that are not among them, with the reason.
    """

    parts: Sequence[Part]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Pool:
        return cls([Part(**part) for part in content["parts"]], content.get("left_out", {}))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def line(self) -> str:
        """Each benchmark with its items and its effect, and what is left out."""
        text = f"items of {', '.join(map(str, self.parts))}" if self.parts else "no benchmark"
        if self.left_out:
            text += f"; left out: {'; '.join(f'{name} ({why})' for name, why in self.left_out.items())}"
        return text
