"""In which order dimensions are shown: what a regime can still do, then what it costs."""

from __future__ import annotations

from pytest_qllm.efficiency.costs import DIMENSION as EFFICIENCY

_FIRST = ("knowledge", "alignment", "language")


def order(dimension: str) -> tuple[int, str]:
    """Its place, to sort by; those that a user made stand before efficiency, by name."""
    if dimension in _FIRST:
        return _FIRST.index(dimension), dimension
    return len(_FIRST) + (dimension == EFFICIENCY), dimension
