"""The benchmarks behind a verdict on a whole dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Part:
    """One benchmark of a dimension, on the items that were judged; proportions.

    Attributes:
        candidate, effect, broken, mended: None where no candidate was judged.
    """

    benchmark: str
    metric: str
    n: int
    baseline: float
    candidate: float | None = None
    effect: float | None = None
    broken: int | None = None
    mended: int | None = None


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
        """Each benchmark with its items and its effect in points, and what is left out."""
        parts = [
            f"{part.benchmark} {part.n}" + ("" if part.effect is None else f" ({100 * part.effect:+.1f})")
            for part in self.parts
        ]
        text = f"items of {', '.join(parts)}" if parts else "no benchmark"
        if self.left_out:
            text += f"; left out: {'; '.join(f'{name} ({why})' for name, why in self.left_out.items())}"
        return text
